// SPDX-License-Identifier: Apache-2.0
#include "agent/outbox.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace atl::agent {

// A control frame fits too. The pages that are never used are never there.
static_assert(Outbox::kDataBytes >= protocol::kMaxControlBytes);

Outbox::Outbox(int socket)
    : socket_(socket),
      buffer_(std::make_unique_for_overwrite<char[]>(protocol::kHeaderBytes + kDataBytes)) {}

ssize_t Outbox::ReadFrom(int fd, protocol::FrameType type) {
  ssize_t count = 0;
  do {
    count = read(fd, buffer_.get() + protocol::kHeaderBytes, kDataBytes);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return count;
  auto header = protocol::EncodeHeader(type, static_cast<size_t>(count));
  std::memcpy(buffer_.get(), header.data(), header.size());
  begin_ = 0;
  end_ = protocol::kHeaderBytes + static_cast<size_t>(count);
  return count;
}

Result<void> Outbox::PutFrame(std::string_view frame) {
  if (frame.size() > protocol::kHeaderBytes + kDataBytes) {
    return Fail(Code::kInternal, "a frame is larger than the outbox");
  }
  std::memcpy(buffer_.get(), frame.data(), frame.size());
  begin_ = 0;
  end_ = frame.size();
  return {};
}

Result<void> Outbox::Flush() {
  while (!empty()) {
    ssize_t sent =
        send(socket_, buffer_.get() + begin_, end_ - begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return {};
      return FailErrno(errno, "send to the client");
    }
    begin_ += static_cast<size_t>(sent);
  }
  return {};
}

Result<void> Outbox::FlushAll() {
  while (true) {
    TRY(Flush());
    if (empty()) return {};
    pollfd ready{.fd = socket_, .events = POLLOUT, .revents = 0};
    poll(&ready, 1, -1);
  }
}

bool ReceiveSome(int socket, protocol::FrameParser* parser) {
  auto space = parser->Space(4096);
  ssize_t count = 0;
  do {
    count = recv(socket, space.data(), space.size(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return errno == EAGAIN;
  parser->Commit(static_cast<size_t>(count));
  return count > 0;
}

}  // namespace atl::agent
