// SPDX-License-Identifier: Apache-2.0
#include "repository/id.h"

#include <algorithm>

#include "crypto/bytes.h"
#include "crypto/sha256.h"

namespace atl::repository {
namespace {

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string Id::Hex() const { return crypto::Hex(bytes); }

Result<Id> ParseId(std::string_view hex) {
  Id id;
  bool good = hex.size() == id.bytes.size() * 2;
  for (size_t i = 0; good && i < id.bytes.size(); ++i) {
    int high = Digit(hex[2 * i]);
    int low = Digit(hex[2 * i + 1]);
    good = high >= 0 && low >= 0;
    id.bytes[i] = static_cast<unsigned char>(high << 4 | low);
  }
  if (!good) return Fail(Code::kInvalidArgument, "an id is 64 digits of 0-9a-f");
  return id;
}

Id Hash(std::string_view data) { return Id{crypto::Sha256Of(data)}; }

std::string_view BlobTypeName(BlobType type) { return type == BlobType::kTree ? "tree" : "data"; }

}  // namespace atl::repository
