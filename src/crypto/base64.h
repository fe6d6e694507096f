// SPDX-License-Identifier: Apache-2.0
// RFC 4648, section 4: the standard alphabet, padded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace atl::crypto {

std::string Base64Encode(std::string_view bytes);
// Nothing for text that Base64Encode cannot have made: white space, no padding, bits left over.
std::optional<std::string> Base64Decode(std::string_view text);

}  // namespace atl::crypto
