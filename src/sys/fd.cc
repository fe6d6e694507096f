// SPDX-License-Identifier: Apache-2.0
#include "sys/fd.h"

#include <dirent.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

namespace atl::sys {

void Fd::Reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> Fd::Duplicate() const {
  int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return FailErrno(errno, "duplicate a descriptor");
  return Fd(fd);
}

Result<Fd> OpenAt(int dir, const std::string& path, int flags, mode_t mode) {
  while (true) {
    int fd = ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return Fd(fd);
    if (errno != EINTR) return FailErrno(errno, fmt::format("open {}", path));
  }
}

Result<Fd> Open(const std::string& path, int flags, mode_t mode) {
  return OpenAt(AT_FDCWD, path, flags, mode);
}

Result<Fd> OpenAt2(int dir, const std::string& path, int flags, uint64_t resolve, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  how.mode = mode;
  how.resolve = resolve;
  while (true) {
    long fd = ::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof(how));
    if (fd >= 0) return Fd(static_cast<int>(fd));
    // EAGAIN: something on the path was renamed meanwhile.
    if (errno != EINTR && errno != EAGAIN) return FailErrno(errno, fmt::format("open {}", path));
  }
}

Result<Pipe> MakePipe(int flags) {
  int fds[2];
  if (::pipe2(fds, flags | O_CLOEXEC) != 0) return FailErrno(errno, "make a pipe");
  return Pipe{.read = Fd(fds[0]), .write = Fd(fds[1])};
}

Result<std::pair<Fd, Fd>> MakeSocketPair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) {
    return FailErrno(errno, "make a socket pair");
  }
  return std::pair<Fd, Fd>(Fd(fds[0]), Fd(fds[1]));
}

Result<std::string> ReadFileAt(int dir, const std::string& path, size_t limit) {
  ASSIGN(Fd fd, OpenAt(dir, path, O_RDONLY));
  std::string data;
  char buffer[16384];
  while (true) {
    ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, fmt::format("read {}", path));
    if (n == 0) return data;
    if (data.size() + static_cast<size_t>(n) > limit) {
      return Fail(Code::kTooLarge, fmt::format("read {}: it has more than {} bytes", path, limit));
    }
    data.append(buffer, static_cast<size_t>(n));
  }
}

Result<std::string> ReadFile(const std::string& path, size_t limit) {
  return ReadFileAt(AT_FDCWD, path, limit);
}

Result<void> WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "write");
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> WriteFileAt(int dir, const std::string& path, std::string_view data, mode_t mode) {
  ASSIGN(Fd fd, OpenAt(dir, path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  Result<void> written = WriteAll(fd.get(), data);
  if (!written) return Unexpected(std::move(written).error().Wrap(path));
  return {};
}

Result<void> WriteFile(const std::string& path, std::string_view data, mode_t mode) {
  return WriteFileAt(AT_FDCWD, path, data, mode);
}

Result<void> WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode) {
  std::string temporary = path + ".tmp-XXXXXX";
  Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return FailErrno(errno, fmt::format("make a temporary file beside {}", path));
  auto give_up = [&](int err, std::string_view what) {
    ::unlink(temporary.c_str());
    return FailErrno(err, fmt::format("{} {}", what, path));
  };
  Result<void> written = WriteAll(fd.get(), data);
  if (!written) {
    ::unlink(temporary.c_str());
    return Unexpected(std::move(written).error().Wrap(path));
  }
  if (::fchmod(fd.get(), mode) != 0) return give_up(errno, "chmod");
  if (::fsync(fd.get()) != 0) return give_up(errno, "sync");
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up(errno, "rename to");
  size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  ASSIGN(Fd dir, Open(parent, O_RDONLY | O_DIRECTORY));
  if (::fsync(dir.get()) != 0) return FailErrno(errno, fmt::format("sync {}", parent));
  return {};
}

Result<void> MakeDirs(const std::string& path, mode_t mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) == 0 || errno == EEXIST) continue;
    return FailErrno(errno, fmt::format("make directory {}", part));
  }
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return FailErrno(errno, fmt::format("stat {}", path));
  if (!S_ISDIR(st.st_mode)) return FailErrno(ENOTDIR, path);
  return {};
}

namespace {

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

Result<void> RemoveChildren(int dir, dev_t device, const std::string& top, int depth);

Result<void> RemoveEntry(int dir, const std::string& name, dev_t device, const std::string& top,
                         int depth) {
  if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  auto what = [&] { return fmt::format("remove {:.100} below {}", name, top); };
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, what());
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return FailErrno(errno, what());
  ASSIGN(Fd child, OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  TRY(RemoveChildren(child.get(), device, top, depth + 1));
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0) return FailErrno(errno, what());
  return {};
}

// At most so many of a directory's names; readdir is free to skip entries while it changes, so who
// removes asks again until there are none.
Result<std::vector<std::string>> SomeNames(int dir, const std::string& top) {
  int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return FailErrno(errno, fmt::format("open a directory below {}", top));
  std::unique_ptr<DIR, DirCloser> stream(::fdopendir(copy));
  if (!stream) return FailErrno(errno, fmt::format("list a directory below {}", top));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
    if (names.size() >= 4096) break;
  }
  return names;
}

// A sandbox decides how deep its tree is. Recursion holds a descriptor per level, so below this
// depth a tree is flattened: a directory half way down is moved up to the root of the removal.
constexpr int kMaxDepth = 48;
constexpr int kMostNames = 100'000;

Result<void> RemoveChildren(int dir, dev_t device, const std::string& top, int depth) {
  struct stat st{};
  if (::fstat(dir, &st) != 0) return FailErrno(errno, fmt::format("stat below {}", top));
  if (st.st_dev != device) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("remove {}: another file system is mounted there", top));
  }
  if (depth > kMaxDepth) {
    return Fail(Code::kTooLarge, fmt::format("remove {}: nested too deeply", top), "TOO_DEEP");
  }
  while (true) {
    ASSIGN(std::vector<std::string> names, SomeNames(dir, top));
    if (names.empty()) return {};
    for (const std::string& name : names) TRY(RemoveEntry(dir, name, device, top, depth));
  }
}

// Moves the directory that lies kMaxDepth/2 levels below `root` to `root` itself under a fresh
// name, following first subdirectories only.
Result<void> Flatten(int root, const std::string& shown, int round) {
  ASSIGN(Fd at, OpenAt(root, ".", O_RDONLY | O_DIRECTORY));
  for (int depth = 0; depth <= kMaxDepth; ++depth) {
    int copy = ::openat(at.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return FailErrno(errno, fmt::format("open {}", shown));
    std::unique_ptr<DIR, DirCloser> stream(::fdopendir(copy));
    if (!stream) return FailErrno(errno, fmt::format("list {}", shown));
    Fd next;
    std::string name;
    while (const dirent* entry = ::readdir(stream.get())) {
      name = entry->d_name;
      if (name == "." || name == "..") continue;
      next = Fd(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (next) break;
    }
    if (!next) return {};
    if (depth == kMaxDepth / 2) {
      // A removal that was cut short has left names of its own.
      for (int number = round; number < round + kMostNames; ++number) {
        std::string fresh = fmt::format(".atoll-removing-{}", number);
        if (::renameat2(at.get(), name.c_str(), root, fresh.c_str(), RENAME_NOREPLACE) == 0) {
          return {};
        }
        if (errno != EEXIST) break;
      }
      return FailErrno(errno, fmt::format("flatten {}", shown));
    }
    at = std::move(next);
  }
  return {};
}

}  // namespace

Result<void> RemoveTree(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return FailErrno(errno, fmt::format("stat {}", path));
  }
  if (!S_ISDIR(st.st_mode)) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      return FailErrno(errno, fmt::format("remove {}", path));
    }
    return {};
  }
  ASSIGN(Fd dir, Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  constexpr int kMaxRounds = 100'000;
  for (int round = 0;; ++round) {
    Result<void> removed = RemoveChildren(dir.get(), st.st_dev, path, 0);
    if (removed) break;
    if (ReasonOf(removed.error()) != "TOO_DEEP" || round >= kMaxRounds) return removed;
    TRY(Flatten(dir.get(), path, round));
  }
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("remove directory {}", path));
  }
  return {};
}

}  // namespace atl::sys
