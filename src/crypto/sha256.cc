// SPDX-License-Identifier: Apache-2.0
#include "crypto/sha256.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "crypto/bytes.h"

namespace atl::crypto {
namespace {

// Fetching an algorithm by name takes longer than hashing a small block.
const EVP_MD* Algorithm() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return algorithm;
}

// SHA-256 fails only when memory has run out or OpenSSL is broken: nothing could go on.
void Require(int ok) {
  if (ok != 1) std::abort();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr ? 1 : 0);
  Require(EVP_DigestInit_ex2(context_.get(), Algorithm(), nullptr));
}

void Sha256::Update(std::string_view data) {
  Require(EVP_DigestUpdate(context_.get(), data.data(), data.size()));
}

Sha256::Digest Sha256::Finish() {
  Digest digest{};
  unsigned size = 0;
  Require(EVP_DigestFinal_ex(context_.get(), digest.data(), &size));
  return digest;
}

std::string Sha256::FinishHex() { return Hex(Finish()); }

Sha256::Digest Sha256Of(std::string_view data) {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  thread_local const std::unique_ptr<EVP_MD_CTX, Free> context = [] {
    std::unique_ptr<EVP_MD_CTX, Free> made(EVP_MD_CTX_new());
    Require(made != nullptr ? 1 : 0);
    Require(EVP_DigestInit_ex2(made.get(), Algorithm(), nullptr));
    return made;
  }();
  // The same algorithm once more: keeps what the first call has set up.
  Require(EVP_DigestInit_ex2(context.get(), nullptr, nullptr));
  Require(EVP_DigestUpdate(context.get(), data.data(), data.size()));
  Sha256::Digest digest{};
  unsigned size = 0;
  Require(EVP_DigestFinal_ex(context.get(), digest.data(), &size));
  return digest;
}

std::string Sha256Hex(std::string_view data) { return Hex(Sha256Of(data)); }

}  // namespace atl::crypto
