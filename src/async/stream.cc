// SPDX-License-Identifier: Apache-2.0
#include "async/stream.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "async/descriptor.h"

namespace atl::async {

namespace asio = boost::asio;

namespace {

// A stream whose every operation completes at once must still let its shard's other connections
// have their turn: after this many the coroutine goes to the end of the queue.
constexpr int kOperationsPerTurn = 16;

}  // namespace

struct Stream::Impl {
  Impl(const Executor& executor, sys::Fd fd) : descriptor(executor, std::move(fd)) {}
  Descriptor descriptor;
  int operations = 0;
  std::optional<bool> is_tcp;

  bool HasHadItsTurn() {
    if (++operations < kOperationsPerTurn) return false;
    operations = 0;
    return true;
  }
  // Datagrams, and what a unix socket carries beside its bytes, end a read early; of TCP less means
  // all.
  void NoteRead(size_t got, size_t room, Poller::Seen before) {
    if (got == 0 || got >= room) return;
    if (!is_tcp) {
      int protocol = 0;
      socklen_t size = sizeof(protocol);
      ::getsockopt(descriptor.fd(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
      is_tcp = protocol == IPPROTO_TCP;
    }
    if (*is_tcp) descriptor.NoteShortRead(before);
  }
  Task<> Yield() { co_await asio::post(descriptor.executor(), asio::use_awaitable); }
};

Stream::Stream(const Executor& executor, sys::Fd fd)
    : impl_(std::make_unique<Impl>(executor, std::move(fd))) {}
Stream::~Stream() = default;
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;

Task<Result<size_t>> Stream::ReadSome(std::span<char> buffer) {
  if (impl_->HasHadItsTurn()) {
    co_await impl_->Yield();
  }
  while (true) {
    if (!is_open()) co_return Fail(Code::kCancelled, "read: the connection is closed");
    Poller::Seen before = impl_->descriptor.Look(Ready::kRead);
    if (before.ready) {
      ssize_t n = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) co_return FailErrno(errno, "read from a connection");
      if (n >= 0) {
        auto count = static_cast<size_t>(n);
        impl_->NoteRead(count, buffer.size(), before);
        co_return count;
      }
      impl_->descriptor.NoteBlocked(Ready::kRead, before);
    }
    CO_TRY(co_await impl_->descriptor.Wait(Ready::kRead));
  }
}

Task<Result<size_t>> Stream::ReadSomeWithFd(std::span<char> buffer, sys::Fd& received) {
  while (true) {
    if (!is_open()) co_return Fail(Code::kCancelled, "read: the connection is closed");
    Poller::Seen before = impl_->descriptor.Look(Ready::kRead);
    iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t n = ::recvmsg(fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) co_return FailErrno(errno, "read from a connection");
    if (n < 0) {
      impl_->descriptor.NoteBlocked(Ready::kRead, before);
      CO_TRY(co_await impl_->descriptor.Wait(Ready::kRead));
      continue;
    }
    // Room for one descriptor: the kernel drops what does not fit.
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(header), sizeof(int));
      received = sys::Fd(passed);
    }
    co_return static_cast<size_t>(n);
  }
}

Task<Result<void>> Stream::Write(std::string_view data) { return Write2(data, std::string_view()); }

Task<Result<void>> Stream::Write2(std::string_view first, std::string_view second) {
  if (impl_->HasHadItsTurn()) {
    co_await impl_->Yield();
  }
  while (!first.empty() || !second.empty()) {
    if (!is_open()) co_return Fail(Code::kCancelled, "write: the connection is closed");
    Poller::Seen before = impl_->descriptor.Look(Ready::kWrite);
    iovec pieces[2] = {{.iov_base = const_cast<char*>(first.data()), .iov_len = first.size()},
                       {.iov_base = const_cast<char*>(second.data()), .iov_len = second.size()}};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = 2;
    ssize_t n = ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) co_return FailErrno(errno, "write to a connection");
    if (n < 0) {
      impl_->descriptor.NoteBlocked(Ready::kWrite, before);
      CO_TRY(co_await impl_->descriptor.Wait(Ready::kWrite));
      continue;
    }
    auto count = static_cast<size_t>(n);
    size_t of_first = std::min(count, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(count - of_first);
  }
  co_return Result<void>();
}

Task<Result<void>> Stream::WaitReadable() { return impl_->descriptor.Wait(Ready::kRead); }

namespace {

constexpr std::chrono::milliseconds kPollBehindData{200};

bool HasHungUp(int fd, bool& data_waits) {
  char byte = 0;
  ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  data_waits = n > 0;
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return true;
  // A pipelined request hides what comes behind it from recv, but not from poll.
  pollfd poll{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

// What its handlers share; they may run once more after it was stopped.
struct HangupState : std::enable_shared_from_this<HangupState> {
  HangupState(Descriptor& of, std::function<void()> then)
      : descriptor(&of), gone(std::move(then)), later(of.executor()) {}

  void Wait() {
    auto look = [self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->Look();
    };
    descriptor->Start(Ready::kRead, wait, stop.slot(), look);
  }
  void Look() {
    if (stopped || !descriptor->is_open()) return;
    bool data_waits = false;
    if (HasHungUp(descriptor->fd(), data_waits)) {
      stopped = true;
      std::exchange(gone, {})();
      return;
    }
    if (!data_waits) {
      Wait();
      return;
    }
    later.expires_after(kPollBehindData);
    later.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->Look();
    });
  }

  Descriptor* descriptor;  // not looked at once stopped
  std::function<void()> gone;
  asio::steady_timer later;
  asio::cancellation_signal stop;
  Poller::Wait wait;
  bool stopped = false;
};

class HangupWatchImpl : public Stream::HangupWatch {
 public:
  explicit HangupWatchImpl(std::shared_ptr<HangupState> state) : state_(std::move(state)) {}
  ~HangupWatchImpl() override {
    state_->stopped = true;
    state_->stop.emit(asio::cancellation_type::total);
    state_->later.cancel();
  }
  HangupWatchImpl(const HangupWatchImpl&) = delete;
  HangupWatchImpl& operator=(const HangupWatchImpl&) = delete;

 private:
  std::shared_ptr<HangupState> state_;
};

}  // namespace

Task<> Stream::WaitForHangup() {
  while (is_open()) {
    Result<void> ready = co_await impl_->descriptor.Wait(Ready::kRead);
    if (!ready) co_return;
    bool data_waits = false;
    if (HasHungUp(fd(), data_waits)) co_return;
    if (data_waits) {
      co_await Sleep(kPollBehindData);
    }
  }
}

std::unique_ptr<Stream::HangupWatch> Stream::WatchHangup(std::function<void()> gone) {
  auto state = std::make_shared<HangupState>(impl_->descriptor, std::move(gone));
  if (is_open()) state->Wait();
  return std::make_unique<HangupWatchImpl>(std::move(state));
}

void Stream::Interrupt() {
  if (is_open()) impl_->descriptor.Interrupt();
}

Executor Stream::executor() const { return impl_->descriptor.executor(); }

void Stream::ShutdownWrite() {
  if (is_open()) ::shutdown(fd(), SHUT_WR);
}

void Stream::Close() {
  if (impl_) impl_->descriptor.Close();
}

bool Stream::is_open() const { return impl_ && impl_->descriptor.is_open(); }
int Stream::fd() const { return impl_->descriptor.fd(); }

std::string Stream::PeerName() const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (!is_open() || ::getpeername(fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return "unknown";
  }
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    return fmt::format("{}:{}", text, ntohs(in.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof(text));
    return fmt::format("[{}]:{}", text, ntohs(in.sin6_port));
  }
  return "unix";
}

namespace {

struct Direction {
  Stream& from;
  Stream& to;
  uint64_t& moved;
  std::atomic<uint64_t>* count;
  std::chrono::steady_clock::time_point& last;
};

Task<> Pump(Direction direction) {
  std::vector<char> buffer(64UL * 1024);
  while (true) {
    Result<size_t> n = co_await direction.from.ReadSome(buffer);
    if (!n || *n == 0) break;
    Result<void> written = co_await direction.to.Write(std::string_view(buffer.data(), *n));
    if (!written) {
      // Nobody takes what comes: the other direction has no future either.
      direction.from.Close();
      co_return;
    }
    direction.moved += *n;
    if (direction.count != nullptr) *direction.count += *n;
    direction.last = std::chrono::steady_clock::now();
  }
  direction.to.ShutdownWrite();
}

Task<> WatchIdle(const std::chrono::steady_clock::time_point& last,
                 std::chrono::milliseconds idle) {
  while (true) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        last + idle - std::chrono::steady_clock::now());
    if (left.count() <= 0) co_return;
    co_await Sleep(left);
  }
}

}  // namespace

Task<Relayed> Relay(Stream& a, Stream& b, std::chrono::milliseconds idle) {
  return Relay(a, b, idle, RelayCounts());
}

Task<Relayed> Relay(Stream& a, Stream& b, std::chrono::milliseconds idle, RelayCounts counts) {
  Relayed relayed;
  auto last = std::chrono::steady_clock::now();
  Direction forward{
      .from = a, .to = b, .moved = relayed.a_to_b, .count = counts.a_to_b, .last = last};
  Direction back{.from = b, .to = a, .moved = relayed.b_to_a, .count = counts.b_to_a, .last = last};
  Task<> pumps = Both(Pump(forward), Pump(back));
  co_await Race(std::move(pumps), WatchIdle(last, idle));
  a.Close();
  b.Close();
  co_return relayed;
}

}  // namespace atl::async
