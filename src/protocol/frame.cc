// SPDX-License-Identifier: Apache-2.0
#include "protocol/frame.h"

#include <algorithm>
#include <cstring>

namespace atl::protocol {

Header EncodeHeader(FrameType type, size_t payload_bytes) {
  auto size = static_cast<uint32_t>(payload_bytes);
  Header header{};
  header[0] = static_cast<char>(type);
  for (unsigned i = 0; i < 4; ++i) header[4 + i] = static_cast<char>(size >> (8 * i));
  return header;
}

std::string EncodeFrame(FrameType type, std::string_view payload) {
  Header header = EncodeHeader(type, payload.size());
  std::string frame;
  frame.reserve(header.size() + payload.size());
  frame.append(header.data(), header.size());
  frame.append(payload);
  return frame;
}

std::span<char> FrameParser::Space(size_t wanted) {
  wanted = std::max(wanted, missing_);
  if (begin_ == end_) begin_ = end_ = 0;
  if (capacity_ - end_ < wanted && begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (capacity_ - end_ < wanted) {
    size_t capacity = end_ + wanted;
    auto buffer = std::make_unique_for_overwrite<char[]>(capacity);
    if (end_ > 0) std::memcpy(buffer.get(), buffer_.get(), end_);
    buffer_ = std::move(buffer);
    capacity_ = capacity;
  }
  return {buffer_.get() + end_, capacity_ - end_};
}

void FrameParser::Feed(std::string_view bytes) {
  if (bytes.empty()) return;
  std::memcpy(Space(bytes.size()).data(), bytes.data(), bytes.size());
  Commit(bytes.size());
}

Result<std::optional<Frame>> FrameParser::Next() {
  if (failed_) return Fail(Code::kInvalidArgument, "the frame stream is broken");
  missing_ = 0;
  if (end_ - begin_ < kHeaderBytes) return std::nullopt;
  const char* head = buffer_.get() + begin_;
  auto type = static_cast<FrameType>(static_cast<uint8_t>(head[0]));
  uint32_t size = 0;
  for (unsigned i = 0; i < 4; ++i) {
    size |= static_cast<uint32_t>(static_cast<uint8_t>(head[4 + i])) << (8 * i);
  }
  failed_ = true;
  if (!IsKnown(type)) {
    return Fail(Code::kInvalidArgument,
                "unknown frame type " + std::to_string(static_cast<unsigned>(type)));
  }
  if (head[1] != 0 || head[2] != 0 || head[3] != 0) {
    return Fail(Code::kInvalidArgument, "reserved bytes of a frame header are set");
  }
  if (size > PayloadLimit(type)) {
    return Fail(Code::kTooLarge, "a frame of " + std::to_string(size) + " bytes is too long");
  }
  failed_ = false;
  size_t have = end_ - begin_ - kHeaderBytes;
  if (have < size) {
    missing_ = size - have;
    return std::nullopt;
  }
  begin_ += kHeaderBytes + size;
  return Frame{.type = type, .payload = {head + kHeaderBytes, size}};
}

}  // namespace atl::protocol
