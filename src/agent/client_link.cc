// SPDX-License-Identifier: Apache-2.0
#include "agent/client_link.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace atl::agent {
namespace {

constexpr size_t kReceiveBytes = 256U << 10U;

}  // namespace

Result<void> ClientLink::Receive() {
  auto space = parser_->Space(kReceiveBytes);
  ssize_t count = 0;
  do {
    count = recv(socket_, space.data(), space.size(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return {};
  if (count <= 0) return FailErrno(count < 0 ? errno : EPIPE, "the client has left");
  parser_->Commit(static_cast<size_t>(count));
  return {};
}

Result<protocol::Frame> ClientLink::Next() {
  while (true) {
    ASSIGN(auto frame, parser_->Next());
    if (frame) return *frame;
    pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
    poll(&ready, 1, -1);
    TRY(Receive());
  }
}

Result<void> ClientLink::SendFrame(std::string_view frame, const OnInput& on_input) {
  return SendParts(frame, {}, on_input);
}

Result<void> ClientLink::SendData(protocol::FrameType type, std::string_view payload) {
  protocol::Header header = protocol::EncodeHeader(type, payload.size());
  return SendParts({header.data(), header.size()}, payload, {});
}

Result<void> ClientLink::SendParts(std::string_view first, std::string_view second,
                                   const OnInput& on_input) {
  within_frame_->store(true);
  while (!first.empty() || !second.empty()) {
    std::array<iovec, 2> parts{{{const_cast<char*>(first.data()), first.size()},
                                {const_cast<char*>(second.data()), second.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return FailErrno(errno, "send to the client");
      short wanted = on_input ? POLLIN | POLLOUT : POLLOUT;
      pollfd ready{.fd = socket_, .events = wanted, .revents = 0};
      poll(&ready, 1, -1);
      if ((ready.revents & POLLIN) != 0) TRY(on_input());
      continue;
    }
    size_t of_first = std::min(static_cast<size_t>(sent), first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(static_cast<size_t>(sent) - of_first);
  }
  within_frame_->store(false);
  return {};
}

}  // namespace atl::agent
