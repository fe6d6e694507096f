// SPDX-License-Identifier: Apache-2.0
// What the index says of each pack, without its blobs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

struct PackFacts {
  uint32_t blobs = 0;
  uint64_t end = 0;         // of the last blob
  uint64_t blob_bytes = 0;  // of all blobs together
  uint64_t header_bytes = 36;
  uint64_t plain_bytes = 0;
  // Of all blobs with where they are, in any order: to compare an index with a pack's header.
  uint64_t digest = 0;
  bool data = false;
  bool trees = false;

  void Add(const repository::PackedBlob& blob);
  // What the pack must have when the index is right.
  uint64_t size() const { return end + header_bytes; }
};
using PackMap = std::unordered_map<repository::Id, PackFacts, repository::IdHash>;
PackMap CollectPacks(const repository::Repository& repository);

// Reads blobs that are sorted by their offsets, neighbours with one request of at most `limit`
// bytes (but a blob at least), and gives each as it is stored.
Result<void> ReadBlobs(
    std::span<const repository::PackedBlob> blobs, uint64_t limit,
    const std::function<Result<std::string>(uint64_t offset, uint64_t length)>& read,
    const std::function<Result<void>(const repository::PackedBlob& blob, std::string_view sealed)>&
        take);

}  // namespace atl::snapshot
