// SPDX-License-Identifier: Apache-2.0
#include "agent/file_place.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "sys/file_error.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxPath = 4095;
constexpr int kMaxLinks = 40;
// A file that somebody holds a lease on is free after a moment, or is not.
constexpr int kBusyRounds = 20;
constexpr useconds_t kBusyWait = 50'000;

Result<sys::Fd> Open2(int dir, const std::string& path, int flags) {
  auto fd = sys::OpenAt2(dir, path, flags, RESOLVE_NO_MAGICLINKS);
  if (!fd) return sys::FailFile(fd.error().sys_errno, path);
  return fd;
}

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// The target when the entry is a symlink, else "".
Result<std::string> LinkTarget(int dir, const std::string& name, const std::string& path) {
  std::array<char, kMaxPath + 1> target;
  ssize_t size = readlinkat(dir, name.c_str(), target.data(), target.size());
  if (size > static_cast<ssize_t>(kMaxPath)) return sys::FailFile(ENAMETOOLONG, path);
  if (size > 0) return std::string(target.data(), static_cast<size_t>(size));
  if (size == 0 || errno == EINVAL || errno == ENOENT) return std::string();
  return sys::FailFile(errno, path);
}

protocol::FileKind KindOf(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return protocol::FileKind::kFile;
    case S_IFDIR:
      return protocol::FileKind::kDirectory;
    case S_IFLNK:
      return protocol::FileKind::kSymlink;
    case S_IFIFO:
      return protocol::FileKind::kFifo;
    case S_IFSOCK:
      return protocol::FileKind::kSocket;
    default:
      return protocol::FileKind::kDevice;
  }
}

}  // namespace

Result<void> CheckPath(const std::string& path) {
  if (path.size() > kMaxPath) return sys::FailFile(ENAMETOOLONG, "the path");
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) {
    return Fail(Code::kInvalidArgument, "the path is not an absolute one");
  }
  return {};
}

Result<Place> FindPlace(const std::string& path, Follow follow) {
  TRY(CheckPath(path));
  std::string rest = WithoutSlashes(path);
  ASSIGN(sys::Fd base, Open2(AT_FDCWD, "/", O_PATH | O_DIRECTORY));
  for (int links = 0; links <= kMaxLinks; ++links) {
    size_t slash = rest.rfind('/');
    std::string name = slash == std::string::npos ? rest : rest.substr(slash + 1);
    Place place{.name = name.empty() ? "." : name, .path = path};
    if (slash == std::string::npos) {
      place.dir = std::move(base);
    } else {
      std::string parent = rest.substr(0, slash);
      if (parent.empty()) parent = "/";
      auto dir = Open2(base.get(), parent, O_PATH | O_DIRECTORY);
      if (!dir) return sys::FailFile(dir.error().sys_errno, path);
      place.dir = std::move(*dir);
    }
    if (follow == Follow::kNo) return place;
    ASSIGN(std::string target, LinkTarget(place.dir.get(), place.name, path));
    if (target.empty()) return place;
    rest = WithoutSlashes(std::move(target));
    base = std::move(place.dir);
  }
  return sys::FailFile(ELOOP, path);
}

Result<Place> FindNamedPlace(const std::string& path, Follow follow) {
  ASSIGN(Place place, FindPlace(path, follow));
  if (place.name != "." && place.name != "..") return place;
  return Fail(Code::kInvalidArgument, path + " has no name that could be made, moved or removed");
}

Result<sys::Fd> OpenPath(const std::string& path, Follow follow, int flags) {
  TRY(CheckPath(path));
  return Open2(AT_FDCWD, path, O_PATH | flags | (follow == Follow::kNo ? O_NOFOLLOW : 0));
}

Result<sys::Fd> Reopen(int path_fd, int flags, const std::string& path) {
  std::string self = "/proc/self/fd/" + std::to_string(path_fd);
  for (int round = 0;; ++round) {
    int fd = open(self.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) return sys::Fd(fd);
    if (errno == EINTR) continue;
    if (errno != EAGAIN || round == kBusyRounds) return sys::FailFile(errno, path);
    usleep(kBusyWait);
  }
}

protocol::FileInfo ToInfo(const struct statx& st) {
  return {.kind = KindOf(st.stx_mode),
          .mode = st.stx_mode & 07777U,
          .uid = st.stx_uid,
          .gid = st.stx_gid,
          .size = st.stx_size,
          .inode = st.stx_ino,
          .mtime_ns =
              static_cast<uint64_t>(st.stx_mtime.tv_sec) * 1'000'000'000U + st.stx_mtime.tv_nsec,
          .target = {}};
}

Result<protocol::FileInfo> InfoOf(int fd, const std::string& path) {
  struct statx st{};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0) return sys::FailFile(errno, path);
  protocol::FileInfo info = ToInfo(st);
  if (info.kind == protocol::FileKind::kSymlink) {
    ASSIGN(info.target, LinkTarget(fd, "", path));
  }
  return info;
}

Result<protocol::FileInfo> InfoAt(const Place& place) {
  struct statx st{};
  if (statx(place.dir.get(), place.name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
            STATX_BASIC_STATS, &st) != 0) {
    return sys::FailFile(errno, place.path);
  }
  protocol::FileInfo info = ToInfo(st);
  if (info.kind == protocol::FileKind::kSymlink) {
    ASSIGN(info.target, LinkTarget(place.dir.get(), place.name, place.path));
  }
  return info;
}

Result<void> MakeParents(const std::string& path) {
  TRY(CheckPath(path));
  std::string clean = WithoutSlashes(path);
  size_t last = clean.rfind('/');
  ASSIGN(sys::Fd at, Open2(AT_FDCWD, "/", O_PATH | O_DIRECTORY));
  for (size_t begin = 1; begin < last;) {
    size_t end = std::min(clean.find('/', begin), last);
    std::string name = clean.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    if (mkdirat(at.get(), name.c_str(), 0755) != 0 && errno != EEXIST) {
      // Above what the user may write into, directories that are there are enough.
      int err = errno;
      bool there = faccessat(at.get(), name.c_str(), F_OK, 0) == 0;
      if (!there) return sys::FailFile(err, "make the directory " + clean.substr(0, end));
    }
    auto next = Open2(at.get(), name, O_PATH | O_DIRECTORY);
    if (!next) return sys::FailFile(next.error().sys_errno, clean.substr(0, end));
    at = std::move(*next);
  }
  return {};
}

}  // namespace atl::agent
