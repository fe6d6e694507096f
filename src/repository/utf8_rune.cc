// SPDX-License-Identifier: Apache-2.0
#include "repository/utf8_rune.h"

namespace atl::repository {
namespace {

bool IsCodePoint(char32_t rune) { return rune <= 0x10FFFF && (rune < 0xD800 || rune > 0xDFFF); }

}  // namespace

Rune FirstRune(std::string_view text) {
  auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1, true};
  size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {lead, 1, false};
  char32_t value = lead & (0x7FU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0U) != 0x80) return {lead, 1, false};
    value = value << 6U | (next & 0x3FU);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[bytes] || !IsCodePoint(value)) return {lead, 1, false};
  return {value, bytes, true};
}

bool AppendRune(std::string& out, char32_t rune) {
  if (!IsCodePoint(rune)) return false;
  auto tail = [&](unsigned shift) {
    out.push_back(static_cast<char>(0x80U | (rune >> shift & 0x3FU)));
  };
  if (rune < 0x80) {
    out.push_back(static_cast<char>(rune));
  } else if (rune < 0x800) {
    out.push_back(static_cast<char>(0xC0U | rune >> 6U));
    tail(0);
  } else if (rune < 0x10000) {
    out.push_back(static_cast<char>(0xE0U | rune >> 12U));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0U | rune >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
  return true;
}

}  // namespace atl::repository
