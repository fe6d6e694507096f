// SPDX-License-Identifier: Apache-2.0
// The SHA-256 that names a blob, a pack or any other file of a repository.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::repository {

struct Id {
  std::array<unsigned char, 32> bytes{};

  std::string Hex() const;
  // The first eight digits, for messages.
  std::string Short() const { return Hex().substr(0, 8); }
  bool IsNull() const { return *this == Id(); }
  auto operator<=>(const Id&) const = default;
};

// Exactly 64 lowercase hex digits.
Result<Id> ParseId(std::string_view hex);
Id Hash(std::string_view data);

// An id is a hash already.
struct IdHash {
  size_t operator()(const Id& id) const {
    size_t value = 0;
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};

enum class BlobType : uint8_t { kData = 0, kTree = 1 };
std::string_view BlobTypeName(BlobType type);  // "data", "tree"

struct BlobHandle {
  BlobType type = BlobType::kData;
  Id id;
  auto operator<=>(const BlobHandle&) const = default;
};

struct BlobHandleHash {
  size_t operator()(const BlobHandle& handle) const {
    return IdHash()(handle.id) ^ static_cast<size_t>(handle.type);
  }
};

}  // namespace atl::repository
