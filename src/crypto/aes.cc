// SPDX-License-Identifier: Apache-2.0
#include "crypto/aes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>

namespace atl::crypto {
namespace {

// These fail only when memory has run out or OpenSSL is broken: nothing could go on.
void Require(bool ok) {
  if (!ok) std::abort();
}

struct FreeMac {
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

// Fetching by name takes longer than encrypting a small blob.
const EVP_CIPHER* Aes256CtrAlgorithm() {
  static EVP_CIPHER* const algorithm = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
  Require(algorithm != nullptr);
  return algorithm;
}

const EVP_CIPHER* Aes128Algorithm() {
  static EVP_CIPHER* const algorithm = EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr);
  Require(algorithm != nullptr);
  return algorithm;
}

EVP_MAC* Poly1305Algorithm() {
  static EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, "POLY1305", nullptr);
  Require(algorithm != nullptr);
  return algorithm;
}

CipherContext NewContext(const EVP_CIPHER* algorithm) {
  CipherContext context(EVP_CIPHER_CTX_new());
  Require(context != nullptr);
  Require(EVP_EncryptInit_ex2(context.get(), algorithm, nullptr, nullptr, nullptr) == 1);
  Require(EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1);
  return context;
}

// OpenSSL counts bytes in an int. Whole blocks, so that nothing is kept back between calls.
void Run(EVP_CIPHER_CTX* context, std::string_view data, char* out) {
  constexpr size_t kPiece = size_t{1} << 30U;
  while (!data.empty()) {
    size_t piece = std::min(data.size(), kPiece);
    int written = 0;
    Require(EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(out), &written,
                              reinterpret_cast<const unsigned char*>(data.data()),
                              static_cast<int>(piece)) == 1);
    Require(static_cast<size_t>(written) == piece);
    data.remove_prefix(piece);
    out += piece;
  }
}

}  // namespace

void Aes256Ctr(const Key256& key, const Block& iv, std::string_view data, char* out) {
  thread_local const CipherContext context = NewContext(Aes256CtrAlgorithm());
  Require(EVP_EncryptInit_ex2(context.get(), nullptr, key.data(), iv.data(), nullptr) == 1);
  Run(context.get(), data, out);
}

void Aes256CtrStream::Free::operator()(evp_cipher_ctx_st* context) const {
  EVP_CIPHER_CTX_free(context);
}

Aes256CtrStream::Aes256CtrStream(const Key256& key, const Block& iv)
    : context_(NewContext(Aes256CtrAlgorithm()).release()) {
  Require(EVP_EncryptInit_ex2(context_.get(), nullptr, key.data(), iv.data(), nullptr) == 1);
}

void Aes256CtrStream::Process(std::string_view data, char* out) { Run(context_.get(), data, out); }

Block Poly1305Aes(const Block& k, const Block& r, const Block& nonce, std::string_view data) {
  thread_local const CipherContext aes = NewContext(Aes128Algorithm());
  thread_local const std::unique_ptr<EVP_MAC_CTX, FreeMac> mac(
      EVP_MAC_CTX_new(Poly1305Algorithm()));
  Require(mac != nullptr);

  std::array<unsigned char, 32> one_time_key{};
  std::copy(r.begin(), r.end(), one_time_key.begin());
  int written = 0;
  Require(EVP_EncryptInit_ex2(aes.get(), nullptr, k.data(), nullptr, nullptr) == 1);
  Require(EVP_EncryptUpdate(aes.get(), one_time_key.data() + r.size(), &written, nonce.data(),
                            static_cast<int>(nonce.size())) == 1);
  Require(written == static_cast<int>(nonce.size()));

  Block tag{};
  size_t size = 0;
  Require(EVP_MAC_init(mac.get(), one_time_key.data(), one_time_key.size(), nullptr) == 1);
  Require(EVP_MAC_update(mac.get(), reinterpret_cast<const unsigned char*>(data.data()),
                         data.size()) == 1);
  Require(EVP_MAC_final(mac.get(), tag.data(), &size, tag.size()) == 1);
  OPENSSL_cleanse(one_time_key.data(), one_time_key.size());
  return tag;
}

}  // namespace atl::crypto
