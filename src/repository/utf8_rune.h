// SPDX-License-Identifier: Apache-2.0
// Code points of text that may not be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace atl::repository {

struct Rune {
  char32_t value = 0;
  size_t bytes = 0;
  bool valid = false;  // otherwise one byte that begins no code point
};
// The first of a text that is not empty.
Rune FirstRune(std::string_view text);
// False for what is no code point: a surrogate, or past U+10FFFF.
bool AppendRune(std::string& out, char32_t rune);

}  // namespace atl::repository
