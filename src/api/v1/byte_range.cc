// SPDX-License-Identifier: Apache-2.0
#include "api/v1/byte_range.h"

#include <algorithm>
#include <charconv>

namespace atl::api {

std::optional<Span> ParseRange(std::string_view text, uint64_t size) {
  if (!text.starts_with("bytes=") || text.contains(',')) return std::nullopt;
  text.remove_prefix(6);
  size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  auto number = [](std::string_view digits) -> std::optional<uint64_t> {
    uint64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  std::string_view first_text = text.substr(0, dash);
  std::string_view last_text = text.substr(dash + 1);
  if (first_text.empty()) {
    std::optional<uint64_t> suffix = number(last_text);
    if (!suffix) return std::nullopt;
    uint64_t length = std::min(*suffix, size);
    return Span{.offset = size - length, .length = length};
  }
  std::optional<uint64_t> first = number(first_text);
  std::optional<uint64_t> last = last_text.empty() ? size - 1 : number(last_text);
  if (!first || !last || (!last_text.empty() && *last < *first)) return std::nullopt;
  if (*first >= size) return Span{};
  return Span{.offset = *first, .length = std::min(*last, size - 1) - *first + 1};
}

}  // namespace atl::api
