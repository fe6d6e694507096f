// SPDX-License-Identifier: Apache-2.0
// The client's connection as a transfer child sees it: frames in both directions. It always knows
// whether a frame is half sent, and says so in memory that it shares with the agent: when the child
// dies, the agent knows whether something can still be said.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string_view>

#include "protocol/messages.h"

namespace atl::agent {

class ClientLink {
 public:
  // `parser` holds what came behind the request.
  ClientLink(int socket, protocol::FrameParser* parser, std::atomic<bool>* within_frame)
      : socket_(socket), parser_(parser), within_frame_(within_frame) {}

  int socket() const { return socket_; }
  // A frame is half sent: nothing else may be.
  bool within_frame() const { return within_frame_->load(); }

  // The next frame, whenever it comes. Valid until the next call. An error (kUnavailable,
  // sys_errno EPIPE) when the client leaves.
  Result<protocol::Frame> Next();
  // The next frame of what was received already.
  Result<std::optional<protocol::Frame>> Buffered() { return parser_->Next(); }
  // Receives what there is without waiting.
  Result<void> Receive();

  // While the client does not read, `on_input` (unless empty) is called whenever it has sent
  // something: it must Receive.
  using OnInput = std::function<Result<void>()>;
  // `frame` is a whole one, header included.
  Result<void> SendFrame(std::string_view frame, const OnInput& on_input = {});
  Result<void> SendData(protocol::FrameType type, std::string_view payload);
  template <class M>
  Result<void> Send(const M& message) {
    ASSIGN(std::string frame, protocol::Encode(message));
    return SendFrame(frame);
  }

 private:
  Result<void> SendParts(std::string_view first, std::string_view second, const OnInput& on_input);

  int socket_;
  protocol::FrameParser* parser_;
  std::atomic<bool>* within_frame_;
};

}  // namespace atl::agent
