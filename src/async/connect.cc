// SPDX-License-Identifier: Apache-2.0
// Making connections, listeners and datagram sockets (declared in stream.h).
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "async/descriptor.h"
#include "async/stream.h"

namespace atl::async {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Address> ToAddress(const Endpoint& endpoint) {
  Address address;
  auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, endpoint.address.c_str(), &in->sin_addr) == 1) {
    in->sin_family = AF_INET;
    in->sin_port = htons(endpoint.port);
    address.size = sizeof(sockaddr_in);
    return address;
  }
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, endpoint.address.c_str(), &in6->sin6_addr) == 1) {
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(endpoint.port);
    address.size = sizeof(sockaddr_in6);
    return address;
  }
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is not an IP address", endpoint.address));
}

void SetNoDelay(int fd) {
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// A unix address for `path`. A path that does not fit goes by way of its open directory, which must
// stay open until the address has been used.
struct UnixAddress {
  sockaddr_un address{};
  sys::Fd directory;
};

Result<UnixAddress> ToUnixAddress(const std::string& path) {
  UnixAddress result;
  result.address.sun_family = AF_UNIX;
  std::string text = path;
  if (path.size() >= sizeof(result.address.sun_path)) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos) return FailErrno(ENAMETOOLONG, path);
    ASSIGN(result.directory, sys::Open(path.substr(0, slash + 1), O_PATH | O_DIRECTORY));
    text = fmt::format("/proc/self/fd/{}/{}", result.directory.get(), path.substr(slash + 1));
    if (text.size() >= sizeof(result.address.sun_path)) return FailErrno(ENAMETOOLONG, path);
  }
  std::memcpy(result.address.sun_path, text.data(), text.size());
  return result;
}

Task<> ConnectInto(Endpoint endpoint, std::optional<Result<Stream>>& result) {
  Executor executor = co_await ThisExecutor();
  Result<Address> address = ToAddress(endpoint);
  if (!address) {
    result = std::unexpected(address.error());
    co_return;
  }
  std::string what = fmt::format("connect to {}:{}", endpoint.address, endpoint.port);
  sys::Fd fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    result = FailErrno(errno, what);
    co_return;
  }
  SetNoDelay(fd.get());
  int rc = ::connect(fd.get(), address->get(), address->size);
  if (rc != 0 && errno != EINPROGRESS) {
    result = FailErrno(errno, what);
    co_return;
  }
  Descriptor descriptor(executor, std::move(fd));
  if (rc != 0) {
    Result<void> ready = co_await descriptor.Wait(Ready::kWrite);
    if (!ready) {
      result = std::unexpected(std::move(ready).error().Wrap(what));
      co_return;
    }
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(descriptor.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      result = FailErrno(error, what);
      co_return;
    }
  }
  sys::Fd copy(::fcntl(descriptor.fd(), F_DUPFD_CLOEXEC, 0));
  descriptor.Close();
  if (!copy) {
    result = FailErrno(errno, what);
    co_return;
  }
  result.emplace(Stream(executor, std::move(copy)));
}

}  // namespace

Result<Endpoint> ParseEndpoint(std::string_view text) {
  size_t colon = text.rfind(':');
  Endpoint endpoint;
  if (colon != std::string_view::npos) {
    std::string_view host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
    }
    endpoint.address = host;
    std::string_view port = text.substr(colon + 1);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (error == std::errc() && end == port.data() + port.size() && ToAddress(endpoint)) {
      return endpoint;
    }
  }
  return Fail(Code::kInvalidArgument,
              fmt::format("\"{}\" is not an address and port such as 127.0.0.1:8787", text));
}

Task<Result<Stream>> ConnectTcp(Endpoint endpoint, std::chrono::milliseconds timeout) {
  std::optional<Result<Stream>> result;
  bool in_time = co_await WithTimeout(timeout, ConnectInto(endpoint, result));
  if (in_time && result) co_return std::move(*result);
  co_return FailErrno(ETIMEDOUT, fmt::format("connect to {}:{}", endpoint.address, endpoint.port));
}

Task<Result<Stream>> ConnectUnix(std::string path, std::chrono::milliseconds timeout) {
  Executor executor = co_await ThisExecutor();
  CO_ASSIGN(UnixAddress address, ToUnixAddress(path));
  auto until = std::chrono::steady_clock::now() + timeout;
  while (true) {
    sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) co_return FailErrno(errno, "make a unix socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.address),
                  sizeof(address.address)) == 0) {
      co_return Stream(executor, std::move(fd));
    }
    int err = errno;
    // EAGAIN: the listener's backlog is full for now.
    if (err != EAGAIN || std::chrono::steady_clock::now() >= until) {
      co_return FailErrno(err, fmt::format("connect to {}", path));
    }
    co_await Sleep(std::chrono::milliseconds(2));
  }
}

struct Listener::Impl {
  Impl(const Executor& executor, sys::Fd fd) : descriptor(executor, std::move(fd)) {}
  Descriptor descriptor;
};

Listener::Listener(const Executor& executor, sys::Fd fd)
    : impl_(std::make_unique<Impl>(executor, std::move(fd))) {}
Listener::~Listener() = default;
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;

Result<sys::Fd> Listener::BindTcp(const Endpoint& endpoint, int backlog) {
  ASSIGN(Address address, ToAddress(endpoint));
  std::string what = fmt::format("listen on {}:{}", endpoint.address, endpoint.port);
  sys::Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno(errno, what);
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.storage.ss_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  if (::bind(fd.get(), address.get(), address.size) != 0) return FailErrno(errno, what);
  if (::listen(fd.get(), backlog) != 0) return FailErrno(errno, what);
  return fd;
}

Result<sys::Fd> Listener::BindUnix(const std::string& path, int backlog) {
  ASSIGN(UnixAddress address, ToUnixAddress(path));
  std::string what = fmt::format("listen on {}", path);
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return FailErrno(errno, what);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return FailErrno(errno, what);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.address),
             sizeof(address.address)) != 0) {
    return FailErrno(errno, what);
  }
  if (::chmod(path.c_str(), 0600) != 0) return FailErrno(errno, what);
  if (::listen(fd.get(), backlog) != 0) return FailErrno(errno, what);
  return fd;
}

Task<Result<sys::Fd>> Listener::Accept() {
  constexpr std::chrono::milliseconds kBackOff{50};
  while (true) {
    if (!impl_->descriptor.is_open()) co_return Fail(Code::kCancelled, "accept: closed");
    Poller::Seen before = impl_->descriptor.Look(Ready::kRead);
    sys::Fd fd(::accept4(impl_->descriptor.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      SetNoDelay(fd.get());
      co_return fd;
    }
    int err = errno;
    if (err == EAGAIN) {
      impl_->descriptor.NoteBlocked(Ready::kRead, before);
      CO_TRY(co_await impl_->descriptor.Wait(Ready::kRead));
    } else if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM) {
      co_await Sleep(kBackOff);
    } else if (err == EBADF || err == EINVAL || err == ENOTSOCK) {
      co_return FailErrno(err, "accept a connection");
    }
    // Anything else concerns the one connection that could not be accepted.
  }
}

uint16_t Listener::port() const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(impl_->descriptor.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void Listener::Close() {
  if (impl_) impl_->descriptor.Close();
}

struct Datagram::Impl {
  Impl(const Executor& executor, sys::Fd fd) : descriptor(executor, std::move(fd)) {}
  Descriptor descriptor;
};

Datagram::Datagram(const Executor& executor, sys::Fd fd)
    : impl_(std::make_unique<Impl>(executor, std::move(fd))) {}
Datagram::~Datagram() = default;
Datagram::Datagram(Datagram&&) noexcept = default;
Datagram& Datagram::operator=(Datagram&&) noexcept = default;

Task<Result<size_t>> Datagram::ReceiveFrom(std::span<char> buffer, Peer& peer) {
  while (true) {
    if (!impl_->descriptor.is_open()) co_return Fail(Code::kCancelled, "receive: closed");
    Poller::Seen before = impl_->descriptor.Look(Ready::kRead);
    socklen_t size = sizeof(peer.bytes);
    ssize_t n = ::recvfrom(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                           reinterpret_cast<sockaddr*>(peer.bytes), &size);
    if (n >= 0) {
      peer.size = size;
      co_return static_cast<size_t>(n);
    }
    if (errno == EAGAIN) {
      impl_->descriptor.NoteBlocked(Ready::kRead, before);
      CO_TRY(co_await impl_->descriptor.Wait(Ready::kRead));
      continue;
    }
    // ECONNREFUSED is the echo of an earlier SendTo; it says nothing about receiving.
    if (errno != EINTR && errno != ECONNREFUSED) co_return FailErrno(errno, "receive a datagram");
  }
}

void Datagram::SendTo(std::string_view data, const Peer& peer) {
  if (!impl_->descriptor.is_open()) return;
  ::sendto(fd(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
           peer.size == 0 ? nullptr : reinterpret_cast<const sockaddr*>(peer.bytes), peer.size);
}

void Datagram::Close() {
  if (impl_) impl_->descriptor.Close();
}

int Datagram::fd() const { return impl_->descriptor.fd(); }

}  // namespace atl::async
