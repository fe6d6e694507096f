// SPDX-License-Identifier: Apache-2.0
// What of some bytes is UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace atl::json {

struct Utf8Scan {
  size_t valid = 0;     // bytes at the beginning that are whole code points
  bool broken = false;  // what follows cannot become a code point, whatever comes next
  // Otherwise the rest (0 to 3 bytes) is the beginning of a code point.
};
Utf8Scan ScanUtf8(std::string_view bytes);

inline bool IsUtf8(std::string_view bytes) { return ScanUtf8(bytes).valid == bytes.size(); }

// How many bytes at the end (0 to 3) are the beginning of a code point that more bytes could
// complete.
size_t IncompleteTail(std::string_view bytes);

}  // namespace atl::json
