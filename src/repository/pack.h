// SPDX-License-Identifier: Apache-2.0
// Packs: sealed blobs one behind the other, a sealed header that lists them, its length.
// https://restic.readthedocs.io/en/stable/100_references.html#pack-format
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/id.h"
#include "repository/key.h"

namespace atl::repository {

// A pack is closed once it is at least this long; one blob may take it past.
inline constexpr size_t kPackBytes = 16U << 20U;
// What a reader accepts.
inline constexpr size_t kMaxPackBytes = 512U << 20U;
inline constexpr size_t kMaxPackHeader = 16U << 20U;
// Of a blob's plaintext. A chunk is at most 8 MiB; the tree of a million entries in one directory
// has hundreds.
inline constexpr uint64_t kMaxDataBlob = 32ULL << 20U;
inline constexpr uint64_t kMaxTreeBlob = 1ULL << 30U;

// A blob as a pack holds it.
struct PackedBlob {
  BlobHandle handle;
  uint32_t offset = 0;
  uint32_t length = 0;      // sealed
  uint32_t raw_length = 0;  // of the plaintext; 0: it is not compressed (then length - 32)
  uint64_t PlainLength() const { return raw_length != 0 ? raw_length : length - kSealOverhead; }
  bool operator==(const PackedBlob&) const = default;
};

// The sealed header with its length behind it: what follows the blobs.
std::string EncodePackHeader(const Key& key, const std::vector<PackedBlob>& blobs);
// From the last bytes of a pack of `pack_bytes`; `tail` holds at least the header. Checks that the
// blobs lie one behind the other and fill the pack.
Result<std::vector<PackedBlob>> DecodePackHeader(const Key& key, std::string_view tail,
                                                 uint64_t pack_bytes);
// How many bytes at the end of a pack the header takes, from its last four.
Result<uint64_t> PackHeaderBytes(std::string_view last_four, uint64_t pack_bytes);

// A blob ready to be put into a pack: compressed where that helps, then sealed.
struct SealedBlob {
  BlobHandle handle;
  uint32_t raw_length = 0;  // 0: not compressed
  std::string bytes;
};
// `handle.id` must be the hash of `plain`.
SealedBlob SealBlob(const Key& key, BlobHandle handle, std::string_view plain);
// A blob whose plaintext comes in pieces, for trees too large to be held.
class BlobSealer {
 public:
  explicit BlobSealer(BlobType type);
  ~BlobSealer();
  BlobSealer(const BlobSealer&) = delete;
  BlobSealer& operator=(const BlobSealer&) = delete;
  Result<void> Append(std::string_view piece);  // kTooLarge past the type's limit
  Result<SealedBlob> Finish(const Key& key);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Opens, decompresses and checks against the id. REPOSITORY_CORRUPT (kInternal), naming the blob.
Result<std::string> OpenBlob(const Key& key, const PackedBlob& blob, std::string_view sealed);
// The same for large trees: the plaintext goes to `sink` in pieces, after the whole sealed form was
// found authentic; a hash that differs is an error at the end.
Result<void> OpenBlobTo(const Key& key, const PackedBlob& blob, std::string_view sealed,
                        const std::function<Result<void>(std::string_view piece)>& sink);

// A file of index/. https://restic.readthedocs.io/en/stable/100_references.html#indexing
struct IndexedPack {
  Id pack;
  std::vector<PackedBlob> blobs;
};
struct IndexFile {
  std::vector<Id> supersedes;
  std::vector<IndexedPack> packs;
};
inline constexpr size_t kMaxIndexBytes = 256U << 20U;
std::string EncodeIndex(const IndexFile& index);
// Calls `on_pack` for each: an index may be larger than what one wants to hold twice. Checks
// offsets and lengths against kMaxPackBytes.
Result<void> DecodeIndex(std::string_view json,
                         const std::function<Result<void>(IndexedPack pack)>& on_pack);

}  // namespace atl::repository
