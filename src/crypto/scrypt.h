// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace atl::crypto {

// Fills `out` with what scrypt (RFC 7914) makes of a password. Takes 128 * n * r bytes of memory
// for the time it runs. kInvalidArgument for parameters that scrypt does not have.
Result<void> Scrypt(std::string_view password, std::string_view salt, uint64_t n, uint64_t r,
                    uint64_t p, std::span<unsigned char> out);

}  // namespace atl::crypto
