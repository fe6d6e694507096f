// SPDX-License-Identifier: Apache-2.0
#include "crypto/scrypt.h"

#include <openssl/evp.h>

#include <limits>

namespace atl::crypto {

Result<void> Scrypt(std::string_view password, std::string_view salt, uint64_t n, uint64_t r,
                    uint64_t p, std::span<unsigned char> out) {
  // The bound is the caller's: OpenSSL's own default of 32 MiB is less than usual parameters take.
  constexpr uint64_t kMaxMemory = std::numeric_limits<int64_t>::max();
  int ok = EVP_PBE_scrypt(password.data(), password.size(),
                          reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), n, r, p,
                          kMaxMemory, out.data(), out.size());
  if (ok != 1) return Fail(Code::kInvalidArgument, "scrypt cannot run with these parameters");
  return {};
}

}  // namespace atl::crypto
