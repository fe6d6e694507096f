// SPDX-License-Identifier: Apache-2.0
#include "json/names.h"

#include <cstddef>

namespace atl::json {
namespace {

// Where the string that begins at `at` ends: its closing quote, or npos.
size_t EndOfString(std::string_view text, size_t at) {
  size_t end = text.find_first_of("\"\\", at + 1);
  while (end != std::string_view::npos && text[end] == '\\') {
    end = text.find_first_of("\"\\", end + 2);  // behind what is escaped
  }
  return end;
}

bool IsName(std::string_view text, size_t behind) {
  size_t next = text.find_first_not_of(" \t\r\n", behind);
  return next != std::string_view::npos && text[next] == ':';
}

}  // namespace

std::vector<std::string_view> PlainNames(std::string_view object) {
  std::vector<std::string_view> names;
  int depth = 0;
  for (size_t at = object.find_first_of("\"{}[]"); at != std::string_view::npos;
       at = object.find_first_of("\"{}[]", at + 1)) {
    char c = object[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != '"') continue;
    size_t end = EndOfString(object, at);
    if (end == std::string_view::npos) break;
    std::string_view name = object.substr(at + 1, end - at - 1);
    if (depth == 1 && !name.contains('\\') && IsName(object, end + 1)) names.push_back(name);
    at = end;
  }
  return names;
}

}  // namespace atl::json
