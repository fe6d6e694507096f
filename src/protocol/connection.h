// SPDX-License-Identifier: Apache-2.0
// Frames over a blocking descriptor, for the agent, for tests and for simple clients.
#pragma once

#include <optional>
#include <string_view>

#include "protocol/messages.h"
#include "sys/fd.h"

namespace atl::protocol {

// Sends all of `bytes` on a socket, without SIGPIPE.
Result<void> SendBytes(int socket, std::string_view bytes);
// A data frame; the bytes are not copied. They must fit PayloadLimit.
Result<void> SendData(int socket, FrameType type, std::string_view bytes);
template <class M>
Result<void> Send(int socket, const M& message) {
  ASSIGN(std::string frame, Encode(message));
  return SendBytes(socket, frame);
}
// `frame` with one descriptor attached.
Result<void> SendWithFd(int socket, std::string_view frame, int fd);

// One recvmsg. 0 is end of stream. A descriptor that came along is put into `passed` (it must not
// be null); a second one, or more than one at once, is closed.
Result<size_t> Receive(int socket, std::span<char> space, sys::Fd* passed);

// Reads whole frames from a blocking socket.
class FrameReader {
 public:
  explicit FrameReader(int socket) : socket_(socket) {}

  // Nothing at a clean end of the stream; a stream that ends inside a frame is an error.
  Result<std::optional<Frame>> Next();
  // The same, from what has been received already: nothing when more must be read.
  Result<std::optional<Frame>> Buffered() { return parser_.Next(); }
  // One read. False at the end of the stream.
  Result<bool> Fill();

  // The next frame as an M, or the error that the peer sent instead.
  template <class M>
  Result<M> Expect() {
    ASSIGN(auto frame, Next());
    if (!frame) return Fail(Code::kUnavailable, "the connection ended");
    return protocol::Expect<M>(*frame);
  }

  sys::Fd TakePassedFd() { return std::move(passed_); }

 private:
  int socket_;
  FrameParser parser_;
  sys::Fd passed_;
};

}  // namespace atl::protocol
