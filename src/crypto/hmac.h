// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "crypto/sha256.h"

namespace atl::crypto {

// HMAC with SHA-256, RFC 2104.
Sha256::Digest HmacSha256(std::string_view key, std::string_view data);

}  // namespace atl::crypto
