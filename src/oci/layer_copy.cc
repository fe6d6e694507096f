// SPDX-License-Identifier: Apache-2.0
#include "oci/layer_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>
#include <memory>
#include <vector>

#include "oci/layer_attributes.h"

namespace atl::oci {
namespace {

// Two descriptors each.
constexpr int kMaxDepth = 400;
// What is not remembered is copied once more while programs stand still.
constexpr size_t kMostMarks = 2'000'000;
constexpr size_t kMostLinks = 1'000'000;
constexpr uint64_t kPiece = 8U << 20U;
// A time of change is no finer than the kernel's tick: what changed this lately may change again
// without showing it.
constexpr int64_t kTickNs = 50'000'000;
constexpr uint32_t kIdRange = 65536;

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

int64_t Nanos(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

int64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return Nanos(now);
}

// Gone or replaced between being listed and being looked at: the second pass sees what is there.
bool HasVanished(int err) {
  return err == ENOENT || err == ELOOP || err == ENOTDIR || err == ENXIO || err == ESTALE;
}

Result<std::vector<std::string>> List(int dir, const std::string& shown) {
  int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return FailErrno(errno, fmt::format("open {:.200}", shown));
  std::unique_ptr<DIR, DirCloser> stream(::fdopendir(copy));
  if (!stream) {
    ::close(copy);
    return FailErrno(errno, fmt::format("list {:.200}", shown));
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  // In a directory that changes meanwhile a name may come twice.
  std::ranges::sort(names);
  auto [first, last] = std::ranges::unique(names);
  names.erase(first, last);
  return names;
}

std::string Below(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "/" + name;
}

// Whatever has the name in `dir`.
Result<void> RemoveAt(int dir, const std::string& name) {
  if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, fmt::format("remove {}", name));
  return sys::RemoveTree(fmt::format("/proc/self/fd/{}/{}", dir, name));
}

}  // namespace

struct LayerCopy::Level {
  int source;
  int target;
  std::string path;
  int depth;
  bool fresh = false;  // made in this pass: nothing of it is there yet
};

Result<LayerCopy> LayerCopy::Open(LayerCopySpec spec) {
  LayerCopy copy(std::move(spec));
  ASSIGN(copy.source_, sys::Open(copy.spec_.source, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  TRY(sys::MakeDirs(copy.spec_.target));
  ASSIGN(copy.target_, sys::Open(copy.spec_.target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  struct stat info{};
  if (::fstat(copy.source_.get(), &info) != 0) return FailErrno(errno, copy.spec_.source);
  copy.device_ = info.st_dev;
  return copy;
}

Result<LayerCopyStats> LayerCopy::Pass(const std::set<std::string>& always) {
  stats_ = {};
  links_.clear();
  always_ = &always;
  Level top{.source = source_.get(), .target = target_.get(), .path = {}, .depth = 0};
  TRY(Directory(top));
  first_ = false;
  always_ = nullptr;
  return stats_;
}

LayerCopy::Mark LayerCopy::MarkOf(const struct stat& info) {
  return {.ino = info.st_ino,
          .ctime_ns = Nanos(info.st_ctim),
          .size = static_cast<uint64_t>(info.st_size),
          .mode = info.st_mode};
}

void LayerCopy::Remember(const std::string& path, const struct stat& info, int64_t seen_ns) {
  // Before it was looked at, that is: what is written in the same tick of the clock has no other
  // time.
  bool settled = Nanos(info.st_ctim) + kTickNs < seen_ns;
  if (settled && (marks_.size() < kMostMarks || marks_.contains(path))) {
    marks_[path] = MarkOf(info);
  } else {
    marks_.erase(path);
  }
}

bool LayerCopy::IsUnchanged(const std::string& path, const struct stat& info) const {
  if (first_ || always_->contains(path)) return false;
  auto found = marks_.find(path);
  return found != marks_.end() && found->second == MarkOf(info);
}

uint32_t LayerCopy::Shift(uint32_t id) const {
  return ShiftId(id, {.from = spec_.source_base, .to = spec_.target_base, .count = kIdRange});
}

// One that is open on both sides.
Result<void> LayerCopy::Directory(Level& level) {
  if (spec_.stop.stop_requested()) {
    return Fail(Code::kCancelled, "the copy was given up", "FORK_CANCELLED");
  }
  if (level.depth > kMaxDepth) {
    return Fail(
        Code::kTooLarge,
        fmt::format("{:.200}… is nested more than {} directories deep", level.path, kMaxDepth),
        "TOO_DEEP");
  }
  struct stat info{};
  int64_t seen_ns = NowNs();
  if (::fstat(level.source, &info) != 0) return FailErrno(errno, "stat " + level.path);
  if (info.st_dev != device_) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("{:.200}: another file system is mounted there", level.path));
  }
  ++stats_.files;
  bool unchanged = !level.fresh && IsUnchanged(level.path, info);
  TRY(Children(level, info));
  if (!unchanged) {
    ++stats_.copied;
    TRY(Attributes(level.source, level.target, info));
    Remember(level.path, info, seen_ns);
    return {};
  }
  // What was written below it moved its time.
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (::futimens(level.target, times) != 0) return FailErrno(errno, "set times of " + level.path);
  return {};
}

Result<void> LayerCopy::Children(Level& level, const struct stat& info) {
  ASSIGN(std::vector<std::string> names, List(level.source, level.path));
  for (const std::string& name : names) {
    Result<void> done = Child(level, name);
    if (!done) return done;
  }
  // Names come and go with a change of the directory itself.
  if (first_ || IsUnchanged(level.path, info)) return {};
  return RemoveOthers(level.target, {names.begin(), names.end()});
}

Result<void> LayerCopy::RemoveOthers(int target, const std::set<std::string>& keep) {
  ASSIGN(std::vector<std::string> names, List(target, "a directory of the copy"));
  for (const std::string& name : names) {
    if (!keep.contains(name)) TRY(RemoveAt(target, name));
  }
  return {};
}

Result<void> LayerCopy::Child(Level& level, const std::string& name) {
  std::string path = Below(level.path, name);
  struct stat info{};
  int64_t seen_ns = NowNs();
  if (::fstatat(level.source, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (HasVanished(errno)) return {};
    return FailErrno(errno, fmt::format("stat {:.200}", path));
  }
  if (S_ISDIR(info.st_mode)) return Sub(level, name, path);
  ++stats_.files;
  bool unchanged = !level.fresh && IsUnchanged(path, info);
  if (info.st_nlink > 1) {
    ASSIGN(bool linked, Linked(level, name, path, info));
    if (linked) {
      Remember(path, info, seen_ns);
      return {};
    }
  }
  if (unchanged) return {};
  if (!first_) {
    marks_.erase(path);
    TRY(RemoveAt(level.target, name));
  }
  ++stats_.copied;
  if (S_ISREG(info.st_mode)) return File(level, name, path);
  return Other(level, name, path, info, seen_ns);
}

Result<void> LayerCopy::Sub(Level& level, const std::string& name, const std::string& path) {
  auto source = sys::OpenAt(level.source, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
  if (!source) {
    if (HasVanished(source.error().sys_errno)) return {};
    return Unexpected(std::move(source).error());
  }
  bool made = ::mkdirat(level.target, name.c_str(), 0700) == 0;
  if (!made) {
    if (errno != EEXIST) return FailErrno(errno, fmt::format("make directory {:.200}", path));
    struct stat there{};
    if (::fstatat(level.target, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
      return FailErrno(errno, fmt::format("stat the copy of {:.200}", path));
    }
    if (!S_ISDIR(there.st_mode)) {
      TRY(RemoveAt(level.target, name));
      if (::mkdirat(level.target, name.c_str(), 0700) != 0) {
        return FailErrno(errno, fmt::format("make directory {:.200}", path));
      }
      made = true;
    }
  }
  ASSIGN(sys::Fd target, sys::OpenAt(level.target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Level below{.source = source->get(),
              .target = target.get(),
              .path = path,
              .depth = level.depth + 1,
              .fresh = made || level.fresh};
  return Directory(below);
}

// Another name of a file that this pass has seen; true when nothing else is to be done.
Result<bool> LayerCopy::Linked(Level& level, const std::string& name, const std::string& path,
                               const struct stat& info) {
  auto found = links_.find(info.st_ino);
  if (found == links_.end()) {
    if (links_.size() < kMostLinks && path.size() < PATH_MAX) links_.emplace(info.st_ino, path);
    return false;
  }
  struct stat first{};
  struct stat own{};
  const std::string& target = found->second;
  // No name of the copy leads out of it: all its directories were made here.
  if (::fstatat(target_.get(), target.c_str(), &first, AT_SYMLINK_NOFOLLOW) != 0) return false;
  bool there = ::fstatat(level.target, name.c_str(), &own, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && own.st_ino == first.st_ino) return true;
  if (there) TRY(RemoveAt(level.target, name));
  if (::linkat(target_.get(), target.c_str(), level.target, name.c_str(), 0) != 0) {
    return FailErrno(errno, fmt::format("link {:.200}", path));
  }
  ++stats_.copied;
  return true;
}

// Symlinks, fifos and whiteouts. Other devices a sandbox cannot make, and sockets lead nowhere once
// their programs are gone.
Result<void> LayerCopy::Other(Level& level, const std::string& name, const std::string& path,
                              const struct stat& info, int64_t seen_ns) {
  int made = 0;
  if (S_ISLNK(info.st_mode)) {
    std::string link(PATH_MAX, '\0');
    ssize_t n = ::readlinkat(level.source, name.c_str(), link.data(), link.size());
    if (n < 0) {
      if (HasVanished(errno) || errno == EINVAL) return {};
      return FailErrno(errno, fmt::format("read the symlink {:.200}", path));
    }
    link.resize(static_cast<size_t>(n));
    made = ::symlinkat(link.c_str(), level.target, name.c_str());
  } else if (S_ISFIFO(info.st_mode)) {
    made = ::mkfifoat(level.target, name.c_str(), 0600);
  } else if (S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0)) {
    made = ::mknodat(level.target, name.c_str(), S_IFCHR | 0600, makedev(0, 0));
  } else {
    return {};
  }
  if (made != 0) return FailErrno(errno, fmt::format("make {:.200}", path));
  if (::fchownat(level.target, name.c_str(), Shift(info.st_uid), Shift(info.st_gid),
                 AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(errno, fmt::format("give away {:.200}", path));
  }
  if (!S_ISLNK(info.st_mode) &&
      ::fchmodat(level.target, name.c_str(), info.st_mode & 07777, 0) != 0) {
    return FailErrno(errno, fmt::format("change the mode of {:.200}", path));
  }
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (::utimensat(level.target, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(errno, fmt::format("set times of {:.200}", path));
  }
  Remember(path, info, seen_ns);
  return {};
}

Result<void> LayerCopy::File(Level& level, const std::string& name, const std::string& path) {
  // Not blocking: it may have become a fifo.
  auto source =
      sys::OpenAt(level.source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_NOCTTY);
  if (!source) {
    if (HasVanished(source.error().sys_errno)) return {};
    return Unexpected(std::move(source).error());
  }
  struct stat info{};
  int64_t seen_ns = NowNs();
  if (::fstat(source->get(), &info) != 0) return FailErrno(errno, "stat " + path);
  if (!S_ISREG(info.st_mode)) return {};
  ASSIGN(sys::Fd target,
         sys::OpenAt(level.target, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  Result<void> copied = Content(source->get(), target.get(), static_cast<uint64_t>(info.st_size));
  if (!copied) return Unexpected(std::move(copied).error().Wrap(fmt::format("{:.200}", path)));
  TRY(Attributes(source->get(), target.get(), info));
  Remember(path, info, seen_ns);
  return {};
}

Result<void> LayerCopy::Content(int from, int to, uint64_t size) {
  if (size == 0) return {};
  if (can_share_) {
    if (::ioctl(to, FICLONE, from) == 0) {
      stats_.shared = true;
      stats_.bytes += size;
      // It may have grown since it was measured; the second pass sees that.
      return {};
    }
    if (errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL && errno != ENOTTY &&
        errno != ENOSYS) {
      return FailErrno(errno, "share content");
    }
    can_share_ = false;
  }
  uint64_t at = 0;
  while (at < size) {
    off_t data = ::lseek(from, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole to the end
    if (data < 0) return FailErrno(errno, "look for data");
    off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return FailErrno(errno, "look for a hole");
    uint64_t end = std::min<uint64_t>(static_cast<uint64_t>(hole), size);
    if (static_cast<uint64_t>(data) >= end) break;
    TRY(Extent(from, to, static_cast<uint64_t>(data), end));
    at = end;
  }
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) return FailErrno(errno, "set the size");
  return {};
}

Result<void> LayerCopy::Extent(int from, int to, uint64_t begin, uint64_t end) {
  bool in_kernel = true;
  while (begin < end) {
    if (spec_.stop.stop_requested()) {
      return Fail(Code::kCancelled, "the copy was given up", "FORK_CANCELLED");
    }
    size_t piece = std::min(end - begin, kPiece);
    auto in = static_cast<off64_t>(begin);
    auto out = static_cast<off64_t>(begin);
    ssize_t n = -1;
    if (in_kernel) {
      n = ::copy_file_range(from, &in, to, &out, piece, 0);
      if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
        in_kernel = false;
      }
    }
    if (!in_kernel) {
      if (::lseek(to, out, SEEK_SET) < 0) return FailErrno(errno, "seek");
      n = ::sendfile(to, from, &in, piece);
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "copy content");
    if (n == 0) return {};  // it became shorter
    begin += static_cast<uint64_t>(n);
    stats_.bytes += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> LayerCopy::Attributes(int from, int to, const struct stat& info) {
  // In this order: a change of owner clears the set-user-id bit and capabilities.
  if (::fchown(to, Shift(info.st_uid), Shift(info.st_gid)) != 0) {
    return FailErrno(errno, "give a file to its owner");
  }
  if (::fchmod(to, info.st_mode & 07777) != 0) return FailErrno(errno, "change a file's mode");
  TRY(CopyXAttributes(from, to,
                      {.from = spec_.source_base, .to = spec_.target_base, .count = kIdRange}));
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (::futimens(to, times) != 0) return FailErrno(errno, "set a file's times");
  return {};
}

}  // namespace atl::oci
