// SPDX-License-Identifier: Apache-2.0
#include "json/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace atl::json {
namespace {

struct Lead {
  uint8_t length = 0;  // 0: no code point begins with this byte
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
};

Lead Classify(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {.length = 2};
  if (byte == 0xE0) return {.length = 3, .second_min = 0xA0};
  if (byte == 0xED) return {.length = 3, .second_max = 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {.length = 3};
  if (byte == 0xF0) return {.length = 4, .second_min = 0x90};
  if (byte >= 0xF1 && byte <= 0xF3) return {.length = 4};
  if (byte == 0xF4) return {.length = 4, .second_max = 0x8F};
  return {};
}

size_t SkipAscii(std::string_view bytes, size_t at) {
  while (at + sizeof(uint64_t) <= bytes.size()) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    if ((word & 0x8080808080808080ULL) != 0) break;
    at += sizeof(word);
  }
  while (at < bytes.size() && static_cast<uint8_t>(bytes[at]) < 0x80) ++at;
  return at;
}

enum class Shape { kWhole, kIncomplete, kBroken };

// The sequence at the beginning of `bytes`, which is not empty and does not begin with ASCII.
Shape Sequence(std::string_view bytes, size_t& length) {
  Lead lead = Classify(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0) return Shape::kBroken;
  length = lead.length;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return Shape::kIncomplete;
    auto byte = static_cast<uint8_t>(bytes[i]);
    uint8_t min = i == 1 ? lead.second_min : 0x80;
    uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return Shape::kBroken;
  }
  return Shape::kWhole;
}

}  // namespace

Utf8Scan ScanUtf8(std::string_view bytes) {
  size_t at = 0;
  for (;;) {
    at = SkipAscii(bytes, at);
    if (at == bytes.size()) return {.valid = at};
    size_t length = 0;
    Shape shape = Sequence(bytes.substr(at), length);
    if (shape != Shape::kWhole) return {.valid = at, .broken = shape == Shape::kBroken};
    at += length;
  }
}

size_t IncompleteTail(std::string_view bytes) {
  for (size_t back = 1; back <= std::min<size_t>(3, bytes.size()); ++back) {
    auto byte = static_cast<uint8_t>(bytes[bytes.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    size_t length = 0;
    Shape shape = Sequence(bytes.substr(bytes.size() - back), length);
    return shape == Shape::kIncomplete ? back : 0;
  }
  return 0;
}

}  // namespace atl::json
