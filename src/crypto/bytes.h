// SPDX-License-Identifier: Apache-2.0
// Random bytes, hexadecimal, and comparison that takes the same time whatever differs.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace atl::crypto {

// Lowercase.
std::string Hex(std::span<const unsigned char> bytes);
// Exactly `digits` characters of 0-9a-f.
bool IsHex(std::string_view text, size_t digits);

void FillRandom(std::span<unsigned char> bytes);
// `bytes` random bytes as lowercase hexadecimal.
std::string RandomHex(size_t bytes);

// Takes time that depends on the lengths alone.
bool ConstantTimeEqual(std::string_view a, std::string_view b);

}  // namespace atl::crypto
