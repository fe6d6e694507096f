// SPDX-License-Identifier: Apache-2.0
#include "agent/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace atl::agent {
namespace {

constexpr useconds_t kPauseUs = 10'000;       // when descriptors have run out
constexpr useconds_t kParkedPauseUs = 1'000;  // a copy is looked for so often, until it is one

// A file that nothing else is: a checkpoint knows it by its inode.
Result<sys::Fd> Placeholder() {
  sys::Fd file(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) return FailErrno(errno, "make a file in the listener's place");
  return file;
}

}  // namespace

bool Listener::IsListening() const {
  int listening = 0;
  socklen_t size = sizeof(listening);
  return ::getsockopt(fd_.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 &&
         listening != 0;
}

std::optional<sys::Fd> Listener::Accept(const std::function<void()>& revived) {
  while (true) {
    if (parked_) {
      if (!IsListening()) {
        ::usleep(kParkedPauseUs);
        continue;
      }
      parked_ = false;
      revived();
    }
    sys::Fd client(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) return client;
    int err = errno;
    if (parked_) continue;
    if (err == EINVAL || err == EBADF || err == ENOTSOCK) return std::nullopt;
    if (err != EINTR && err != ECONNABORTED) ::usleep(kPauseUs);
  }
}

Result<void> Listener::Park() {
  ASSIGN(sys::Fd placeholder, Placeholder());
  sys::Fd listener(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3));
  if (!listener) return FailErrno(errno, "duplicate the listener");
  parked_ = true;
  if (::dup3(placeholder.get(), fd_.get(), O_CLOEXEC) < 0) {
    int err = errno;
    parked_ = false;
    return FailErrno(err, "replace the listener");
  }
  // Whoever waits in accept holds the old one; this lets them look again.
  ::shutdown(listener.get(), SHUT_RDWR);
  return {};
}

}  // namespace atl::agent
