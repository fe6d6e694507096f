// SPDX-License-Identifier: Apache-2.0
// Sealing and opening: AES-256-CTR, Poly1305-AES over the ciphertext with the IV as its nonce.
#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>

#include "crypto/aes.h"
#include "crypto/bytes.h"
#include "repository/key.h"
#include "repository/uninitialized.h"

namespace atl::repository {
namespace {

constexpr size_t kMacBytes = kSealOverhead - kSealRoom;
constexpr size_t kPiece = 128U << 10U;

crypto::Block IvOf(std::string_view sealed) {
  crypto::Block iv;
  std::memcpy(iv.data(), sealed.data(), iv.size());
  return iv;
}

std::string_view CiphertextOf(std::string_view sealed) {
  return sealed.substr(kSealRoom, sealed.size() - kSealOverhead);
}

Unexpected NotAuthentic() {
  return Fail(Code::kInternal, "what is encrypted is damaged, or of another key",
              "CIPHERTEXT_CORRUPT");
}

// Puts the IV in front of the ciphertext and the MAC behind it.
void Frame(const crypto::Block& mac_k, const crypto::Block& mac_r, const crypto::Block& iv,
           char* begin, size_t plain_bytes) {
  std::memcpy(begin, iv.data(), iv.size());
  crypto::Block mac = crypto::Poly1305Aes(mac_k, mac_r, iv, {begin + kSealRoom, plain_bytes});
  std::memcpy(begin + kSealRoom + plain_bytes, mac.data(), mac.size());
}

}  // namespace

Key::~Key() {
  OPENSSL_cleanse(encrypt_.data(), encrypt_.size());
  OPENSSL_cleanse(mac_k_.data(), mac_k_.size());
  OPENSSL_cleanse(mac_r_.data(), mac_r_.size());
}

Key Key::Random() {
  Key key;
  crypto::FillRandom(key.encrypt_);
  crypto::FillRandom(key.mac_k_);
  crypto::FillRandom(key.mac_r_);
  return key;
}

Key Key::FromBytes(const std::array<unsigned char, 64>& bytes) {
  Key key;
  const unsigned char* at = bytes.data();
  std::memcpy(key.encrypt_.data(), at, key.encrypt_.size());
  at += key.encrypt_.size();
  std::memcpy(key.mac_k_.data(), at, key.mac_k_.size());
  at += key.mac_k_.size();
  std::memcpy(key.mac_r_.data(), at, key.mac_r_.size());
  return key;
}

void Key::Seal(std::string_view plain, std::string& out) const {
  crypto::Block iv;
  crypto::FillRandom(iv);
  size_t before = out.size();
  ResizeUninitialized(out, before + plain.size() + kSealOverhead);
  char* begin = out.data() + before;
  crypto::Aes256Ctr(encrypt_, iv, plain, begin + kSealRoom);
  Frame(mac_k_, mac_r_, iv, begin, plain.size());
}

void Key::SealInPlace(std::string& data) const {
  crypto::Block iv;
  crypto::FillRandom(iv);
  data.append(kMacBytes, '\0');
  std::string_view plain = CiphertextOf(data);
  crypto::Aes256Ctr(encrypt_, iv, plain, data.data() + kSealRoom);
  Frame(mac_k_, mac_r_, iv, data.data(), plain.size());
}

bool Key::Authentic(std::string_view sealed) const {
  if (sealed.size() < kSealOverhead) return false;
  crypto::Block mac = crypto::Poly1305Aes(mac_k_, mac_r_, IvOf(sealed), CiphertextOf(sealed));
  return CRYPTO_memcmp(mac.data(), sealed.data() + sealed.size() - mac.size(), mac.size()) == 0;
}

Result<void> Key::Open(std::string_view sealed, std::string& out) const {
  if (!Authentic(sealed)) return NotAuthentic();
  std::string_view ciphertext = CiphertextOf(sealed);
  size_t before = out.size();
  ResizeUninitialized(out, before + ciphertext.size());
  crypto::Aes256Ctr(encrypt_, IvOf(sealed), ciphertext, out.data() + before);
  return {};
}

Result<void> Key::OpenTo(std::string_view sealed,
                         const std::function<Result<void>(std::string_view piece)>& sink) const {
  if (!Authentic(sealed)) return NotAuthentic();
  std::string_view ciphertext = CiphertextOf(sealed);
  crypto::Aes256CtrStream stream(encrypt_, IvOf(sealed));
  std::string plain(std::min(kPiece, ciphertext.size()), 0);
  while (!ciphertext.empty()) {
    std::string_view piece = ciphertext.substr(0, kPiece);
    stream.Process(piece, plain.data());
    TRY(sink(std::string_view(plain).substr(0, piece.size())));
    ciphertext.remove_prefix(piece.size());
  }
  return {};
}

}  // namespace atl::repository
