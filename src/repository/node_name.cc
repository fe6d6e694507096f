// SPDX-License-Identifier: Apache-2.0
// https://pkg.go.dev/strconv#Quote and #Unquote
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "repository/node_json.h"
#include "repository/tree.h"
#include "repository/utf8_rune.h"

namespace atl::repository {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};
// Controls, formats, separators, surrogates and private use: what Go does not call printable, but
// for code points that Unicode has not assigned. These stay as they are: every reader takes them.
constexpr std::array<Range, 27> kHidden = {{
    {0x80, 0xa0},       {0xad, 0xad},       {0x600, 0x605},       {0x61c, 0x61c},
    {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},       {0x8e2, 0x8e2},
    {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},     {0x2028, 0x202f},
    {0x205f, 0x2064},   {0x2066, 0x206f},   {0x3000, 0x3000},     {0xd800, 0xf8ff},
    {0xfeff, 0xfeff},   {0xfff9, 0xfffb},   {0x110bd, 0x110bd},   {0x110cd, 0x110cd},
    {0x13430, 0x13438}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},   {0xe0001, 0xe0001},
    {0xe0020, 0xe007f}, {0xf0000, 0xffffd}, {0x100000, 0x10fffd},
}};

bool IsHidden(char32_t rune) {
  if (rune < 0x80) return rune < 0x20 || rune == 0x7f;
  auto at =
      std::ranges::lower_bound(kHidden, rune, {}, [](const Range& range) { return range.last; });
  return at != kHidden.end() && at->first <= rune;
}

// The letters of Go's short escapes, and what they stand for.
constexpr std::string_view kLetters = "abfnrtv\\\"'";
constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\\"'";

bool IsPlain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

void QuoteRune(std::string& out, const Rune& rune, std::string_view bytes) {
  auto to = std::back_inserter(out);
  if (!rune.valid) {
    fmt::format_to(to, "\\x{:02x}", static_cast<unsigned char>(bytes[0]));
    return;
  }
  size_t letter = rune.value < 0x80 && rune.value != '\''
                      ? kMeanings.find(static_cast<char>(rune.value))
                      : std::string_view::npos;
  auto value = static_cast<uint32_t>(rune.value);
  if (letter != std::string_view::npos) {
    out.push_back('\\');
    out.push_back(kLetters[letter]);
  } else if (!IsHidden(rune.value)) {
    out.append(bytes);
  } else if (value < 0x80) {
    fmt::format_to(to, "\\x{:02x}", value);
  } else if (value < 0x10000) {
    fmt::format_to(to, "\\u{:04x}", value);
  } else {
    fmt::format_to(to, "\\U{:08x}", value);
  }
}

Unexpected WrongQuoting(std::string_view quoted) {
  return CorruptTree(
      fmt::format("\"{}\" is not quoted as Go quotes a name", quoted.substr(0, kMaxName)));
}

// `digits` digits from the front of `text`; 2^32 when they are not there.
uint64_t Digits(std::string_view text, size_t digits, unsigned base) {
  constexpr uint64_t kWrong = 1ULL << 32U;
  if (text.size() < digits) return kWrong;
  uint64_t value = 0;
  for (char c : text.substr(0, digits)) {
    unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                     : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A') + 10
                                            : 99;
    if (digit >= base) return kWrong;
    value = value * base + digit;
  }
  return value;
}

// What follows a backslash. Takes it from the front of `rest`.
bool UnquoteEscape(std::string& out, std::string_view& rest) {
  if (rest.empty()) return false;
  char c = rest.front();
  if (size_t letter = kLetters.find(c); letter != std::string_view::npos) {
    out.push_back(kMeanings[letter]);
    rest.remove_prefix(1);
    return true;
  }
  if (c >= '0' && c <= '7') {
    uint64_t byte = Digits(rest, 3, 8);
    if (byte > 0xff) return false;
    out.push_back(static_cast<char>(byte));
    rest.remove_prefix(3);
    return true;
  }
  size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) return false;
  uint64_t value = Digits(rest.substr(1), digits, 16);
  if (value > 0xffffffff) return false;
  if (c == 'x') {
    out.push_back(static_cast<char>(value));
  } else if (!AppendRune(out, static_cast<char32_t>(value))) {
    return false;
  }
  rest.remove_prefix(1 + digits);
  return true;
}

}  // namespace

std::string QuoteName(std::string_view name) {
  if (std::ranges::all_of(name, IsPlain)) return std::string(name);
  std::string out;
  while (!name.empty()) {
    Rune rune = FirstRune(name);
    QuoteRune(out, rune, name.substr(0, rune.bytes));
    name.remove_prefix(rune.bytes);
  }
  return out;
}

Result<std::string> UnquoteName(std::string_view quoted) {
  std::string out;
  for (std::string_view rest = quoted; !rest.empty();) {
    size_t plain = rest.find_first_of("\\\"\n");
    out.append(rest.substr(0, plain));
    if (plain == std::string_view::npos) break;
    if (rest[plain] != '\\') return WrongQuoting(quoted);
    rest.remove_prefix(plain + 1);
    if (!UnquoteEscape(out, rest)) return WrongQuoting(quoted);
  }
  return out;
}

}  // namespace atl::repository
