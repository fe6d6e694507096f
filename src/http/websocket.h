// SPDX-License-Identifier: Apache-2.0
// WebSocket connections (RFC 6455), of both ends. No extensions; the server takes no subprotocol.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/mutex.h"
#include "http/client.h"
#include "http/server.h"
#include "http/websocket_frame.h"

namespace atl::http {

// Whether this request asks for a WebSocket as it should. UPGRADE_REQUIRED (426) when it does not
// ask at all or for another version.
Result<void> CheckWebSocketHandshake(const RequestHead& request);
// Answers what CheckWebSocketHandshake failed with.
async::Task<> RespondHandshakeError(Exchange& exchange, Error error);

struct WebSocketMessage {
  bool text = false;
  std::string data;
};

// One coroutine may read while others send.
class WebSocket {
 public:
  static constexpr size_t kMaxMessage = 1U << 20U;

  // Answers 101 to a request that has been checked. The exchange must outlive the connection.
  static async::Task<Result<std::unique_ptr<WebSocket>>> Accept(Exchange& exchange,
                                                                size_t max_message = kMaxMessage);
  // Asks for one; `head` has the target and Host. What the server answers instead of 101 is an
  // error with its code and message.
  static async::Task<Result<std::unique_ptr<WebSocket>>> Connect(
      std::unique_ptr<Transport> transport, RequestHead head, size_t max_message = kMaxMessage);

  // The next message; nothing when the peer has closed, which is answered. Pings are answered. A
  // failure is the end: the peer has been told why, if it was its fault.
  async::Task<Result<std::optional<WebSocketMessage>>> Read();
  async::Task<Result<void>> SendText(std::string_view text);
  async::Task<Result<void>> SendBinary(std::string_view bytes);
  // Says goodbye and waits a little for the peer to do so. Nobody may be reading.
  async::Task<> Close(uint16_t code, std::string_view reason);
  // Asks again and again whether the peer is there; returns when it has said nothing for long.
  async::Task<> WatchPeer();

 private:
  WebSocket(Role role, async::Stream* stream, std::unique_ptr<Transport> transport,
            size_t max_message);
  async::Task<Result<WebSocketEvent>> NextEvent();
  async::Task<Result<void>> Send(Opcode opcode, std::string_view payload);
  async::Task<> DrainInput();

  Role role_;
  async::Stream* stream_;
  std::unique_ptr<Transport> transport_;  // a client's
  WebSocketParser parser_;
  std::vector<char> piece_;
  async::Mutex sending_;
  bool close_sent_ = false;
  bool close_received_ = false;
  bool heard_ = true;  // something has come since WatchPeer last looked
};

}  // namespace atl::http
