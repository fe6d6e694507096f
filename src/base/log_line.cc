// SPDX-License-Identifier: Apache-2.0
#include "base/log_line.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace atl::log {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Lead {
  size_t length = 0;          // of the whole sequence; 0: no sequence begins so
  unsigned char low = 0x80;   // the bounds of its second byte, which rule out overlong forms,
  unsigned char high = 0xBF;  // surrogates and what is past U+10FFFF
};

Lead LeadOf(unsigned char c) {
  if (c < 0x80) return {.length = 1};
  if (c >= 0xC2 && c <= 0xDF) return {.length = 2};
  if (c == 0xE0) return {.length = 3, .low = 0xA0};
  if (c == 0xED) return {.length = 3, .high = 0x9F};
  if (c >= 0xE1 && c <= 0xEF) return {.length = 3};
  if (c == 0xF0) return {.length = 4, .low = 0x90};
  if (c == 0xF4) return {.length = 4, .high = 0x8F};
  if (c >= 0xF1 && c <= 0xF3) return {.length = 4};
  return {};
}

// The length of the UTF-8 sequence that `text` begins with; 0 when it begins with none.
size_t SequenceLength(std::string_view text) {
  auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  Lead lead = LeadOf(byte(0));
  if (lead.length == 0 || lead.length > text.size()) return 0;
  if (lead.length > 1 && (byte(1) < lead.low || byte(1) > lead.high)) return 0;
  for (size_t i = 2; i < lead.length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return 0;
  }
  return lead.length;
}

void AppendEscaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out += c;
      }
  }
}

void AppendString(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    size_t length = SequenceLength(text);
    if (length == 0) {
      out += kReplacement;
      length = 1;
    } else if (length == 1) {
      AppendEscaped(out, text[0]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out += '"';
}

bool IsIdByte(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

}  // namespace

std::string_view SandboxOf(std::string_view message) {
  constexpr std::string_view kPrefix = "sandbox ";
  constexpr size_t kMaxId = 39;
  if (!message.starts_with(kPrefix)) return {};
  message.remove_prefix(kPrefix.size());
  auto end = std::ranges::find_if_not(message, IsIdByte);
  auto length = static_cast<size_t>(end - message.begin());
  bool ends = end != message.end() && (*end == ' ' || *end == ':');
  return ends && length <= kMaxId ? message.substr(0, length) : std::string_view();
}

std::string JsonLine(std::chrono::system_clock::time_point time, std::string_view level,
                     std::string_view message) {
  auto since = time.time_since_epoch();
  auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(since - seconds);
  std::string line =
      fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}Z","level":)",
                  fmt::gmtime(static_cast<std::time_t>(seconds.count())), millis.count());
  AppendString(line, level);
  line += R"(,"message":)";
  AppendString(line, message);
  if (std::string_view sandbox = SandboxOf(message); !sandbox.empty()) {
    line += R"(,"sandbox":)";
    AppendString(line, sandbox);
  }
  line += '}';
  return line;
}

}  // namespace atl::log
