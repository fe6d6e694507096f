// SPDX-License-Identifier: Apache-2.0
#include "crypto/base64.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace atl::crypto {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr unsigned char kNone = 0xff;

constexpr std::array<unsigned char, 256> kValues = [] {
  std::array<unsigned char, 256> values{};
  values.fill(kNone);
  for (unsigned char i = 0; i < 64; ++i) values[static_cast<unsigned char>(kAlphabet[i])] = i;
  return values;
}();

uint32_t Byte(std::string_view bytes, size_t at) { return static_cast<unsigned char>(bytes[at]); }

}  // namespace

std::string Base64Encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  size_t at = 0;
  for (; at + 3 <= bytes.size(); at += 3) {
    uint32_t group = Byte(bytes, at) << 16U | Byte(bytes, at + 1) << 8U | Byte(bytes, at + 2);
    for (unsigned shift : {18U, 12U, 6U, 0U}) text.push_back(kAlphabet[group >> shift & 63U]);
  }
  size_t rest = bytes.size() - at;
  if (rest == 0) return text;
  uint32_t group = Byte(bytes, at) << 16U;
  if (rest == 2) group |= Byte(bytes, at + 1) << 8U;
  text.push_back(kAlphabet[group >> 18U & 63U]);
  text.push_back(kAlphabet[group >> 12U & 63U]);
  text.push_back(rest == 2 ? kAlphabet[group >> 6U & 63U] : '=');
  text.push_back('=');
  return text;
}

std::optional<std::string> Base64Decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  unsigned held = 0;
  for (char c : text.substr(0, text.size() - padding)) {
    unsigned char value = kValues[static_cast<unsigned char>(c)];
    if (value == kNone) return std::nullopt;
    bits = bits << 6U | value;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes.push_back(static_cast<char>(bits >> held & 0xffU));
    bits &= (1U << held) - 1;
  }
  if (bits != 0) return std::nullopt;
  return bytes;
}

}  // namespace atl::crypto
