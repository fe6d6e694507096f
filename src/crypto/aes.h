// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string_view>

struct evp_cipher_ctx_st;

namespace atl::crypto {

using Block = std::array<unsigned char, 16>;
using Key256 = std::array<unsigned char, 32>;

// `data` in one go with a context that the thread keeps. `out` takes data.size() bytes and may be
// where `data` is. Encrypting and decrypting are the same.
void Aes256Ctr(const Key256& key, const Block& iv, std::string_view data, char* out);

// The same for data that comes in pieces of any length.
class Aes256CtrStream {
 public:
  Aes256CtrStream(const Key256& key, const Block& iv);
  void Process(std::string_view data, char* out);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const;
  };
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;
};

// https://cr.yp.to/mac/poly1305-20050329.pdf: `k` encrypts the nonce, `r` is clamped here.
Block Poly1305Aes(const Block& k, const Block& r, const Block& nonce, std::string_view data);

}  // namespace atl::crypto
