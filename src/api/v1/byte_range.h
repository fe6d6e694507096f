// SPDX-License-Identifier: Apache-2.0
// Ranges of bytes of what is answered (RFC 9110, 14).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace atl::api {

struct Span {
  uint64_t offset = 0;
  uint64_t length = 0;
};

// The one range that a Range field asks for of `size` bytes; nothing when it is not understood,
// which means the whole. An empty Span: it cannot be satisfied.
std::optional<Span> ParseRange(std::string_view text, uint64_t size);

}  // namespace atl::api
