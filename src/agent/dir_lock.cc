// SPDX-License-Identifier: Apache-2.0
#include "agent/dir_lock.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <string>

namespace atl::agent {

Result<std::optional<sys::Fd>> LockDir(int dir) {
  struct stat st{};
  if (fstat(dir, &st) != 0) return FailErrno(errno, "stat a directory to lock");
  // An abstract name: it is in no directory, and goes with the process.
  std::string name("\0atoll-restore/", 15);
  name += std::to_string(major(st.st_dev)) + ":" + std::to_string(minor(st.st_dev)) + "/" +
          std::to_string(st.st_ino);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof(address.sun_path));
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  sys::Fd lock(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!lock) return FailErrno(errno, "make a lock");
  if (bind(lock.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) {
    return std::optional(std::move(lock));
  }
  if (errno == EADDRINUSE) return std::optional<sys::Fd>();
  return FailErrno(errno, "lock a directory");
}

}  // namespace atl::agent
