// SPDX-License-Identifier: Apache-2.0
#include "crypto/hmac.h"

#include <openssl/crypto.h>

#include <array>
#include <cstring>

namespace atl::crypto {
namespace {

constexpr size_t kBlock = 64;

std::string_view View(const auto& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Sha256::Digest HmacSha256(std::string_view key, std::string_view data) {
  std::array<unsigned char, kBlock> pad{};
  if (key.size() > kBlock) {
    Sha256::Digest hashed = Sha256Of(key);
    std::memcpy(pad.data(), hashed.data(), hashed.size());
  } else if (!key.empty()) {
    std::memcpy(pad.data(), key.data(), key.size());
  }
  for (unsigned char& byte : pad) byte ^= 0x36U;
  Sha256 inner;
  inner.Update(View(pad));
  inner.Update(data);
  Sha256::Digest inner_digest = inner.Finish();
  for (unsigned char& byte : pad) byte ^= 0x36U ^ 0x5cU;
  Sha256 outer;
  outer.Update(View(pad));
  outer.Update(View(inner_digest));
  OPENSSL_cleanse(pad.data(), pad.size());
  return outer.Finish();
}

}  // namespace atl::crypto
