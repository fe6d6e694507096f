// SPDX-License-Identifier: Apache-2.0
#include "snapshot/agent_link.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace atl::snapshot {
namespace {

constexpr size_t kReceiveBytes = 1U << 20U;
constexpr int kSocketBytes = 1 << 20;

Unexpected Gone(std::string_view why) {
  return Fail(Code::kUnavailable, "the sandbox's agent has gone: " + std::string(why));
}

}  // namespace

Unexpected BadAgent(std::string_view why) {
  return Fail(Code::kBadGateway,
              "the sandbox's agent does not keep to its protocol: " + std::string(why),
              "INVALID_FRAME");
}

void AgentLink::Waker::operator()() const { eventfd_write(fd, 1); }

AgentLink::AgentLink(sys::Fd socket, std::chrono::milliseconds idle_limit, std::stop_token stop)
    : socket_(std::move(socket)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      idle_limit_(idle_limit),
      stop_(std::move(stop)) {
  if (wake_) on_stop_.emplace(stop_, Waker{wake_.get()});
  // Past the system's limit if we may.
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBytes, sizeof(int)) != 0) {
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof(int));
  }
}

Result<std::unique_ptr<AgentLink>> AgentLink::Open(const Connect& connect,
                                                   std::chrono::milliseconds idle_limit,
                                                   std::stop_token stop) {
  ASSIGN(sys::Fd socket, connect());
  std::unique_ptr<AgentLink> link(new AgentLink(std::move(socket), idle_limit, std::move(stop)));
  if (!link->wake_) return Fail(Code::kResourceExhausted, "make an eventfd");
  ASSIGN(auto hello, link->Expect<protocol::Hello>());
  TRY(protocol::CheckAgentVersion(hello.version));
  return link;
}

Result<void> AgentLink::Wait(short events) {
  auto deadline = std::chrono::steady_clock::now() + idle_limit_;
  while (true) {
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "the operation was cancelled");
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    std::array<pollfd, 2> fds{{{.fd = socket_.get(), .events = events, .revents = 0},
                               {.fd = wake_.get(), .events = POLLIN, .revents = 0}}};
    poll(fds.data(), fds.size(), static_cast<int>(std::clamp<int64_t>(left.count(), 0, 600'000)));
    if (fds[1].revents != 0) continue;
    if (fds[0].revents != 0) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return Fail(Code::kTimeout, "the sandbox's agent says nothing", "AGENT_TIMEOUT");
    }
  }
}

Result<AgentLink::Received> AgentLink::Receive() {
  auto space = parser_.Space(kReceiveBytes);
  ssize_t count = 0;
  do {
    count = recv(socket_.get(), space.data(), space.size(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return Received::kNothing;
  // A reset says that the agent left something unread, no more.
  if (count == 0 || (count < 0 && errno == ECONNRESET)) return Received::kEnd;
  if (count < 0) return FailErrno(errno, "receive from the sandbox's agent");
  parser_.Commit(static_cast<size_t>(count));
  return Received::kBytes;
}

Result<std::optional<protocol::Frame>> AgentLink::Buffered() {
  auto frame = parser_.Next();
  if (!frame) return BadAgent(frame.error().message);
  if (*frame && (*frame)->type == protocol::FrameType::kError) {
    return Unexpected(protocol::UnexpectedFrame(**frame));
  }
  return frame;
}

Result<protocol::Frame> AgentLink::Next() {
  while (true) {
    // Also while there is always something to read.
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "the operation was cancelled");
    ASSIGN(auto frame, Buffered());
    if (frame) return *frame;
    ASSIGN(Received received, Receive());
    if (received == Received::kNothing) TRY(Wait(POLLIN));
    if (received != Received::kEnd) continue;
    return Gone(parser_.pending() == 0 ? "the connection ended"
                                       : "the connection was cut inside a frame");
  }
}

Result<std::optional<protocol::Frame>> AgentLink::Poll() {
  ASSIGN(auto frame, Buffered());
  if (frame) return frame;
  ASSIGN(Received received, Receive());
  if (received == Received::kEnd) return Gone("the connection ended");
  return Buffered();
}

Error AgentLink::WhyClosed() {
  while (true) {
    auto frame = Next();
    if (!frame) return std::move(frame).error();
  }
}

Result<void> AgentLink::SendData(protocol::FrameType type, std::string_view payload) {
  protocol::Header header = protocol::EncodeHeader(type, payload.size());
  return SendParts({header.data(), header.size()}, payload);
}

Result<void> AgentLink::SendParts(std::string_view first, std::string_view second) {
  while (!first.empty() || !second.empty()) {
    std::array<iovec, 2> parts{{{const_cast<char*>(first.data()), first.size()},
                                {const_cast<char*>(second.data()), second.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) return Unexpected(WhyClosed());
      if (errno != EAGAIN) return FailErrno(errno, "send to the sandbox's agent");
      TRY(Wait(POLLOUT));
      continue;
    }
    size_t of_first = std::min(static_cast<size_t>(sent), first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(static_cast<size_t>(sent) - of_first);
  }
  return {};
}

}  // namespace atl::snapshot
