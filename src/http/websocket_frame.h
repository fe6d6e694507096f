// SPDX-License-Identifier: Apache-2.0
// The WebSocket protocol (RFC 6455) as bytes: frames and the messages that they are pieces of.
// Without extensions. Nothing here does I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::http {

enum class Opcode : uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

// Why a connection is closed.
inline constexpr uint16_t kCloseNormal = 1000;
inline constexpr uint16_t kCloseGoingAway = 1001;
inline constexpr uint16_t kCloseProtocolError = 1002;
inline constexpr uint16_t kCloseNone = 1005;  // a close frame without a code; never sent
inline constexpr uint16_t kCloseInvalidData = 1007;
inline constexpr uint16_t kClosePolicy = 1008;
inline constexpr uint16_t kCloseTooBig = 1009;
inline constexpr uint16_t kCloseInternal = 1011;

// Who reads: a server takes only masked frames, a client only others.
enum class Role : uint8_t { kServer, kClient };

// A whole message or a control frame.
struct WebSocketEvent {
  Opcode opcode = Opcode::kText;  // never kContinuation
  std::string data;               // kClose: the reason
  uint16_t close_code = kCloseNone;
};

// Takes bytes as they come and gives events. Holds one message, of at most `max_message` bytes, one
// control frame, and what was fed and not yet asked for.
class WebSocketParser {
 public:
  WebSocketParser(Role role, size_t max_message) : role_(role), max_message_(max_message) {}

  void Feed(std::string_view bytes);
  // The next event, or nothing yet. An error is final; close_code() is what to tell the peer.
  Result<std::optional<WebSocketEvent>> Next();
  uint16_t close_code() const { return close_code_; }

 private:
  bool ReadHeader();  // false: more bytes are needed, or it failed
  void TakePayload();
  std::optional<WebSocketEvent> EndFrame();
  bool Refuse(uint16_t code, std::string why);
  std::string_view CheckFirstBytes(uint8_t first, uint8_t second) const;
  bool CheckClose(std::string_view payload, WebSocketEvent* event);

  Role role_;
  size_t max_message_;
  std::string buffer_;
  size_t begin_ = 0;

  // The frame that is being read.
  bool in_frame_ = false;
  bool final_ = false;
  Opcode opcode_ = Opcode::kText;
  uint64_t left_ = 0;
  bool masked_ = false;
  std::array<char, 4> mask_{};
  size_t mask_at_ = 0;

  std::optional<Opcode> message_opcode_;  // a message has begun
  std::string message_;
  std::string control_;
  std::string failure_;
  uint16_t close_code_ = 0;
};

// Whether a peer may send this as the code of a close frame.
bool IsCloseCode(uint16_t code);

// The header of an unfragmented frame, as a server sends it; the payload follows as it is.
std::string WebSocketHeader(Opcode opcode, size_t payload_bytes);
// A whole unfragmented frame, as a client sends it.
std::string MaskedFrame(Opcode opcode, std::string_view payload, std::array<char, 4> mask);
// The payload of a close frame. `reason` is cut to what fits.
std::string ClosePayload(uint16_t code, std::string_view reason);

}  // namespace atl::http
