// SPDX-License-Identifier: Apache-2.0
#include "json/writer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "json/utf8.h"

namespace atl::json {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr uint64_t kOnes = 0x0101010101010101ULL;
constexpr uint64_t kHighs = 0x8080808080808080ULL;

// High bits set where a byte of `word` is zero; false hits only above a true one.
constexpr uint64_t ZeroBytes(uint64_t word) { return (word - kOnes) & ~word & kHighs; }

// Is any byte of `word` a quote, a backslash or below 0x20?
constexpr bool NeedsEscape(uint64_t word) {
  uint64_t quote = ZeroBytes(word ^ (kOnes * '"'));
  uint64_t backslash = ZeroBytes(word ^ (kOnes * '\\'));
  uint64_t control = (word - kOnes * 0x20) & ~word & kHighs;
  return (quote | backslash | control) != 0;
}

bool NeedsEscape(char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; }

char* PutEscape(char* out, char c) {
  *out++ = '\\';
  switch (c) {
    case '"':
    case '\\':
      *out++ = c;
      return out;
    case '\n':
      *out++ = 'n';
      return out;
    case '\r':
      *out++ = 'r';
      return out;
    case '\t':
      *out++ = 't';
      return out;
    default:
      break;
  }
  auto byte = static_cast<unsigned char>(c);
  std::memcpy(out, "u00", 3);
  out[3] = kHex[byte >> 4U];
  out[4] = kHex[byte & 15U];
  return out + 5;
}

// An escaped byte takes at most this many.
constexpr size_t kMaxEscape = 6;
// Text is escaped in pieces of this size, so that the room reserved for the worst case is small.
constexpr size_t kPiece = 4096;

char* PutEscaped(char* out, std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    while (at + sizeof(uint64_t) <= text.size()) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + at, sizeof(word));
      if (NeedsEscape(word)) break;
      std::memcpy(out, &word, sizeof(word));
      out += sizeof(word);
      at += sizeof(word);
    }
    size_t end = std::min(text.size(), at + sizeof(uint64_t));
    for (; at < end; ++at) {
      if (NeedsEscape(text[at])) {
        out = PutEscape(out, text[at]);
      } else {
        *out++ = text[at];
      }
    }
  }
  return out;
}

void AppendEscaped(std::string& out, std::string_view text) {
  std::array<char, kPiece * kMaxEscape> buffer;
  for (size_t at = 0; at < text.size(); at += kPiece) {
    char* end = PutEscaped(buffer.data(), text.substr(at, kPiece));
    out.append(buffer.data(), static_cast<size_t>(end - buffer.data()));
  }
}

}  // namespace

void AppendUtf8String(std::string& out, std::string_view text) {
  out.push_back('"');
  AppendEscaped(out, text);
  out.push_back('"');
}

void AppendString(std::string& out, std::string_view text) {
  out.push_back('"');
  for (;;) {
    Utf8Scan scan = ScanUtf8(text);
    AppendEscaped(out, text.substr(0, scan.valid));
    if (scan.valid == text.size()) break;
    out.append("\xEF\xBF\xBD");
    if (!scan.broken) break;
    text.remove_prefix(scan.valid + 1);
  }
  out.push_back('"');
}

void AppendBase64(std::string& out, std::string_view bytes) {
  out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  size_t at = 0;
  for (; at + 3 <= bytes.size(); at += 3) {
    uint32_t word = byte(at) << 16U | byte(at + 1) << 8U | byte(at + 2);
    const char quad[] = {kBase64[word >> 18U], kBase64[word >> 12U & 63U],
                         kBase64[word >> 6U & 63U], kBase64[word & 63U]};
    out.append(quad, sizeof(quad));
  }
  size_t rest = bytes.size() - at;
  if (rest == 0) return;
  uint32_t word = byte(at) << 16U | (rest == 2 ? byte(at + 1) << 8U : 0);
  out.push_back(kBase64[word >> 18U]);
  out.push_back(kBase64[word >> 12U & 63U]);
  out.push_back(rest == 2 ? kBase64[word >> 6U & 63U] : '=');
  out.push_back('=');
}

void Writer::Separate() {
  if (comma_) out_.push_back(',');
  comma_ = true;
}

Writer& Writer::Open(char bracket) {
  Separate();
  out_.push_back(bracket);
  comma_ = false;
  return *this;
}

Writer& Writer::Close(char bracket) {
  out_.push_back(bracket);
  comma_ = true;
  return *this;
}

Writer& Writer::Key(std::string_view name) {
  Separate();
  AppendString(out_, name);
  out_.push_back(':');
  comma_ = false;
  return *this;
}

Writer& Writer::String(std::string_view text) {
  Separate();
  AppendString(out_, text);
  return *this;
}

Writer& Writer::Raw(std::string_view json) {
  Separate();
  out_.append(json);
  return *this;
}

Writer& Writer::Number(double value) {
  if (!std::isfinite(value)) return Null();
  std::array<char, 32> text;
  auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  (void)error;  // 32 bytes hold every double's shortest form
  return Raw(std::string_view(text.data(), static_cast<size_t>(end - text.data())));
}

}  // namespace atl::json
