// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace atl::sandbox {

Result<sys::Fd> ConnectAgent(const std::string& path) {
  ASSIGN(sys::Fd file, sys::Open(path, O_PATH));
  std::string address = fmt::format("/proc/self/fd/{}", file.get());
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  std::memcpy(target.sun_path, address.c_str(), address.size() + 1);
  sys::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return FailErrno(errno, "make a socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof(target)) != 0) {
    int err = errno;
    if (err == ECONNREFUSED || err == ENOENT) {
      return Fail(Code::kUnavailable, "the sandbox does not run", "CONTAINER_UNAVAILABLE");
    }
    return FailErrno(err, "connect to the sandbox");
  }
  return socket;
}

}  // namespace atl::sandbox
