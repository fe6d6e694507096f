// SPDX-License-Identifier: Apache-2.0
// Keys, encryption and the config file of a repository.
// https://restic.readthedocs.io/en/stable/100_references.html#keys-encryption-and-mac
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "repository/id.h"

namespace atl::repository {

// AES-256-CTR with Poly1305-AES: `IV (16) || ciphertext || MAC (16)`.
inline constexpr size_t kSealOverhead = 32;
inline constexpr size_t kSealRoom = 16;  // of the IV

class Key {
 public:
  Key() = default;
  ~Key();
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;

  static Key Random();
  // Encryption key, k and r one behind the other, as scrypt derives them.
  static Key FromBytes(const std::array<unsigned char, 64>& bytes);

  // Appends the sealed form to `out`.
  void Seal(std::string_view plain, std::string& out) const;
  // Appends the plaintext to `out`. CIPHERTEXT_CORRUPT (kInternal) when it is not authentic.
  Result<void> Open(std::string_view sealed, std::string& out) const;

  // For what is too large to be held twice. Seals what stands behind the first kSealRoom bytes.
  void SealInPlace(std::string& data) const;
  // Gives the plaintext in pieces, after all of `sealed` was found authentic.
  Result<void> OpenTo(std::string_view sealed,
                      const std::function<Result<void>(std::string_view piece)>& sink) const;

  // {"mac":{"k":…,"r":…},"encrypt":…}
  std::string ToJson() const;
  static Result<Key> FromJson(std::string_view json);

 private:
  // The MAC of what is sealed matches.
  bool Authentic(std::string_view sealed) const;

  std::array<unsigned char, 32> encrypt_{};
  std::array<unsigned char, 16> mac_k_{};
  std::array<unsigned char, 16> mac_r_{};
};

struct ScryptParams {
  uint32_t n = 32768;
  uint32_t r = 8;
  uint32_t p = 5;
};

// A file of keys/: the master key, sealed with one that scrypt derives from the password.
struct KeyFile {
  std::string hostname;
  std::string username;
  std::string created;  // RFC 3339
  ScryptParams params;
  std::string salt;  // 64 bytes
  std::string data;  // sealed

  static KeyFile Make(const Key& master, std::string_view password, ScryptParams params = {});
  // REPOSITORY_PASSWORD_WRONG (kPermissionDenied) when the password does not open it.
  Result<Key> Unlock(std::string_view password) const;

  std::string ToJson() const;
  // Bounds n, r and p: a hostile file must not cost gigabytes.
  static Result<KeyFile> FromJson(std::string_view json);
};

// The file `config`, sealed with the master key.
struct RepositoryConfig {
  uint32_t version = 2;
  std::string id;                   // 64 hex digits, random
  uint64_t chunker_polynomial = 0;  // irreducible, of degree 53

  static RepositoryConfig Random();
  std::string ToJson() const;
  // REPOSITORY_VERSION (kFailedPrecondition) for a version other than 2; the polynomial is checked.
  static Result<RepositoryConfig> FromJson(std::string_view json);
};

// What is behind every other sealed file but packs (index, snapshot, lock): JSON as it is, or a
// byte 2 and a zstd frame.
// https://restic.readthedocs.io/en/stable/100_references.html#unpacked-data-format
std::string EncodeUnpacked(std::string_view json);
Result<std::string> DecodeUnpacked(std::string_view plain, size_t limit);

}  // namespace atl::repository
