// SPDX-License-Identifier: Apache-2.0
#include "http/websocket_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "json/utf8.h"

namespace atl::http {
namespace {

constexpr uint8_t kFinal = 0x80;
constexpr uint8_t kReserved = 0x70;
constexpr uint8_t kOpcodeBits = 0x0f;
constexpr uint8_t kMasked = 0x80;
constexpr uint8_t kLengthBits = 0x7f;
constexpr uint8_t kLength16 = 126;
constexpr uint8_t kLength64 = 127;
constexpr size_t kMaxControl = 125;

bool IsControl(Opcode opcode) { return opcode >= Opcode::kClose; }

bool IsOpcode(uint8_t bits) { return bits <= 2 || (bits >= 8 && bits <= 10); }

uint64_t BigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (char byte : bytes) value = value << 8U | static_cast<uint8_t>(byte);
  return value;
}

void AppendHeader(std::string& out, Opcode opcode, uint64_t size, uint8_t mask_bit) {
  out.push_back(static_cast<char>(kFinal | static_cast<uint8_t>(opcode)));
  int bytes = 0;
  if (size <= kMaxControl) {
    out.push_back(static_cast<char>(mask_bit | size));
  } else if (size <= 0xffff) {
    out.push_back(static_cast<char>(mask_bit | kLength16));
    bytes = 2;
  } else {
    out.push_back(static_cast<char>(mask_bit | kLength64));
    bytes = 8;
  }
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(size >> (8 * i)));
}

}  // namespace

bool IsCloseCode(uint16_t code) {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

void WebSocketParser::Feed(std::string_view bytes) {
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  buffer_.append(bytes);
}

bool WebSocketParser::Refuse(uint16_t code, std::string why) {
  failure_ = std::move(why);
  close_code_ = code;
  return false;
}

// What is wrong, or "".
std::string_view WebSocketParser::CheckFirstBytes(uint8_t first, uint8_t second) const {
  if ((first & kReserved) != 0) return "a frame has reserved bits";
  if (!IsOpcode(first & kOpcodeBits)) return "a frame has an unknown opcode";
  if (((second & kMasked) != 0) != (role_ == Role::kServer)) {
    return role_ == Role::kServer ? "a frame is not masked" : "a frame is masked";
  }
  auto opcode = static_cast<Opcode>(first & kOpcodeBits);
  if (IsControl(opcode)) {
    if ((first & kFinal) == 0) return "a control frame is fragmented";
    if ((second & kLengthBits) > kMaxControl) return "a control frame is too long";
  } else if ((opcode == Opcode::kContinuation) != message_opcode_.has_value()) {
    return message_opcode_ ? "a message begins inside another" : "nothing is there to be continued";
  }
  return {};
}

bool WebSocketParser::ReadHeader() {
  std::string_view bytes = std::string_view(buffer_).substr(begin_);
  if (bytes.size() < 2) return false;
  auto first = static_cast<uint8_t>(bytes[0]);
  auto second = static_cast<uint8_t>(bytes[1]);
  // Before the rest of the header is waited for.
  std::string_view wrong = CheckFirstBytes(first, second);
  if (!wrong.empty()) return Refuse(kCloseProtocolError, std::string(wrong));
  uint8_t length = second & kLengthBits;
  size_t length_bytes = length == kLength16 ? 2 : (length == kLength64 ? 8 : 0);
  masked_ = (second & kMasked) != 0;
  size_t size = 2 + length_bytes + (masked_ ? mask_.size() : 0);
  if (bytes.size() < size) return false;
  left_ = length_bytes == 0 ? length : BigEndian(bytes.substr(2, length_bytes));
  if ((length_bytes == 2 && left_ <= kMaxControl) || (length_bytes == 8 && left_ <= 0xffff)) {
    return Refuse(kCloseProtocolError, "a frame's length is longer than it has to be");
  }
  opcode_ = static_cast<Opcode>(first & kOpcodeBits);
  if (!IsControl(opcode_) && left_ > max_message_ - message_.size()) {
    return Refuse(kCloseTooBig, fmt::format("a message is above {} bytes", max_message_));
  }
  final_ = (first & kFinal) != 0;
  if (masked_) std::ranges::copy(bytes.substr(2 + length_bytes, mask_.size()), mask_.begin());
  mask_at_ = 0;
  in_frame_ = true;
  if (opcode_ == Opcode::kText || opcode_ == Opcode::kBinary) message_opcode_ = opcode_;
  begin_ += size;
  return true;
}

void WebSocketParser::TakePayload() {
  size_t count = std::min<uint64_t>(left_, buffer_.size() - begin_);
  std::string& into = IsControl(opcode_) ? control_ : message_;
  size_t at = into.size();
  into.append(buffer_, begin_, count);
  if (masked_) {
    for (size_t i = at; i < into.size(); ++i) {
      into[i] = static_cast<char>(into[i] ^ mask_.at(mask_at_++ % mask_.size()));
    }
  }
  begin_ += count;
  left_ -= count;
}

bool WebSocketParser::CheckClose(std::string_view payload, WebSocketEvent* event) {
  if (payload.empty()) return true;
  if (payload.size() == 1) return Refuse(kCloseProtocolError, "a close frame has half a code");
  event->close_code = static_cast<uint16_t>(BigEndian(payload.substr(0, 2)));
  if (!IsCloseCode(event->close_code)) {
    return Refuse(kCloseProtocolError, "a close frame has a code that nobody may send");
  }
  event->data = payload.substr(2);
  if (json::IsUtf8(event->data)) return true;
  return Refuse(kCloseInvalidData, "the reason of a close frame is not UTF-8");
}

std::optional<WebSocketEvent> WebSocketParser::EndFrame() {
  in_frame_ = false;
  WebSocketEvent event;
  if (IsControl(opcode_)) {
    event.opcode = opcode_;
    std::string payload = std::exchange(control_, {});
    if (opcode_ != Opcode::kClose) {
      event.data = std::move(payload);
    } else if (!CheckClose(payload, &event)) {
      return std::nullopt;
    }
    return event;
  }
  if (!final_) return std::nullopt;
  event.opcode = *std::exchange(message_opcode_, std::nullopt);
  event.data = std::exchange(message_, {});
  if (event.opcode == Opcode::kText && !json::IsUtf8(event.data)) {
    Refuse(kCloseInvalidData, "a text message is not UTF-8");
    return std::nullopt;
  }
  return event;
}

Result<std::optional<WebSocketEvent>> WebSocketParser::Next() {
  while (failure_.empty()) {
    if (!in_frame_ && !ReadHeader()) break;
    TakePayload();
    if (left_ > 0) break;
    std::optional<WebSocketEvent> event = EndFrame();
    if (event) return event;
  }
  if (failure_.empty()) return std::nullopt;
  return Fail(Code::kInvalidArgument, failure_, "WEBSOCKET_PROTOCOL_ERROR");
}

std::string WebSocketHeader(Opcode opcode, size_t payload_bytes) {
  std::string header;
  AppendHeader(header, opcode, payload_bytes, 0);
  return header;
}

std::string MaskedFrame(Opcode opcode, std::string_view payload, std::array<char, 4> mask) {
  std::string frame;
  frame.reserve(payload.size() + 14);
  AppendHeader(frame, opcode, payload.size(), kMasked);
  frame.append(mask.data(), mask.size());
  for (size_t i = 0; i < payload.size(); ++i) {
    frame.push_back(static_cast<char>(payload[i] ^ mask.at(i % mask.size())));
  }
  return frame;
}

std::string ClosePayload(uint16_t code, std::string_view reason) {
  reason = reason.substr(0, kMaxControl - 2);
  std::string payload;
  payload.push_back(static_cast<char>(code >> 8U));
  payload.push_back(static_cast<char>(code & 0xffU));
  payload.append(reason.substr(0, json::ScanUtf8(reason).valid));
  return payload;
}

}  // namespace atl::http
