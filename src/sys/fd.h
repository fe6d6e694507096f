// SPDX-License-Identifier: Apache-2.0
// An owned file descriptor. Every descriptor that Atoll opens is close-on-exec.
#pragma once

#include <fcntl.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace atl::sys {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Reset();

  Result<Fd> Duplicate() const;

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read;
  Fd write;
};

// All of these add O_CLOEXEC and retry EINTR. `path` is relative to `dir`; AT_FDCWD is allowed.
Result<Fd> OpenAt(int dir, const std::string& path, int flags, mode_t mode = 0);
Result<Fd> Open(const std::string& path, int flags, mode_t mode = 0);
// openat2 with the given RESOLVE_* bits; the way to open a path that somebody else could move.
Result<Fd> OpenAt2(int dir, const std::string& path, int flags, uint64_t resolve, mode_t mode = 0);
Result<Pipe> MakePipe(int flags = 0);
Result<std::pair<Fd, Fd>> MakeSocketPair(int type);

// Reads a whole file of at most `limit` bytes; a longer one is kTooLarge.
Result<std::string> ReadFile(const std::string& path, size_t limit = 16U << 20U);
Result<std::string> ReadFileAt(int dir, const std::string& path, size_t limit = 16U << 20U);
// Writes to an existing or new file in place: for control files such as those of cgroups and /proc.
Result<void> WriteFileAt(int dir, const std::string& path, std::string_view data,
                         mode_t mode = 0644);
Result<void> WriteFile(const std::string& path, std::string_view data, mode_t mode = 0644);
// Writes a temporary sibling, syncs it, renames it over `path` and syncs the directory.
Result<void> WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode = 0644);

Result<void> WriteAll(int fd, std::string_view data);

// mkdir -p. Existing directories keep their mode.
Result<void> MakeDirs(const std::string& path, mode_t mode = 0755);
// rm -rf that follows no symlink and crosses no mount point; a missing path is success.
Result<void> RemoveTree(const std::string& path);

}  // namespace atl::sys
