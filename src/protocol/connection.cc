// SPDX-License-Identifier: Apache-2.0
#include "protocol/connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace atl::protocol {
namespace {

constexpr size_t kReadBytes = 16U << 10U;

// Sends both parts, whatever the socket takes at a time.
Result<void> SendParts(int socket, std::string_view first, std::string_view second) {
  while (!first.empty() || !second.empty()) {
    std::array<iovec, 2> parts{{{const_cast<char*>(first.data()), first.size()},
                                {const_cast<char*>(second.data()), second.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return FailErrno(errno, "send to the other end");
    }
    size_t of_first = std::min(static_cast<size_t>(sent), first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(static_cast<size_t>(sent) - of_first);
  }
  return {};
}

}  // namespace

Result<void> SendBytes(int socket, std::string_view bytes) { return SendParts(socket, bytes, {}); }

Result<void> SendData(int socket, FrameType type, std::string_view bytes) {
  Header header = EncodeHeader(type, bytes.size());
  return SendParts(socket, {header.data(), header.size()}, bytes);
}

Result<void> SendWithFd(int socket, std::string_view frame, int fd) {
  iovec part{const_cast<char*>(frame.data()), frame.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &fd, sizeof(int));
  while (true) {
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent >= 0) return SendBytes(socket, frame.substr(static_cast<size_t>(sent)));
    if (errno != EINTR) return FailErrno(errno, "send a descriptor to the other end");
  }
}

Result<size_t> Receive(int socket, std::span<char> space, sys::Fd* passed) {
  iovec part{space.data(), space.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 4)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t received = 0;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return FailErrno(errno, "receive from the other end");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int raw = -1;
      std::memcpy(&raw, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
      sys::Fd fd(raw);
      if (!*passed) *passed = std::move(fd);
    }
  }
  return static_cast<size_t>(received);
}

Result<bool> FrameReader::Fill() {
  ASSIGN(size_t count, Receive(socket_, parser_.Space(kReadBytes), &passed_));
  parser_.Commit(count);
  return count > 0;
}

Result<std::optional<Frame>> FrameReader::Next() {
  while (true) {
    ASSIGN(auto frame, parser_.Next());
    if (frame) return frame;
    ASSIGN(bool more, Fill());
    if (more) continue;
    if (parser_.pending() == 0) return std::nullopt;
    return Fail(Code::kUnavailable, "the connection was cut inside a frame");
  }
}

}  // namespace atl::protocol
