// SPDX-License-Identifier: Apache-2.0
#include "daemon/run_dir.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

namespace atl::daemon {

Result<RunDirLock> RunDirLock::Take(const std::string& run_dir) {
  TRY(sys::MakeDirs(run_dir, 0711));
  std::string path = run_dir + "/lock";
  ASSIGN(sys::Fd fd, sys::Open(path, O_RDWR | O_CREAT, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    int err = errno;
    if (err != EWOULDBLOCK) return FailErrno(err, fmt::format("lock {}", path));
    Result<std::string> pid = sys::ReadFile(path, 64);
    return Fail(Code::kAlreadyExists,
                fmt::format("another daemon (pid {}) runs on {}; stop it, or set run_dir and "
                            "state_dir to other directories",
                            pid ? *pid : "unknown", run_dir));
  }
  if (::ftruncate(fd.get(), 0) != 0) return FailErrno(errno, fmt::format("truncate {}", path));
  TRY(sys::WriteAll(fd.get(), fmt::to_string(::getpid())));
  return RunDirLock(std::move(fd));
}

Result<void> WriteAddress(const std::string& run_dir, const std::string& address) {
  return sys::WriteFileAtomic(run_dir + "/address", address + "\n");
}

}  // namespace atl::daemon
