// SPDX-License-Identifier: Apache-2.0
// Where every blob is, in memory: about 56 bytes each. Knows which index files named a pack, so
// that a pack is forgotten when the last of them is gone.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "repository/id.h"
#include "repository/pack.h"

namespace atl::repository {

struct BlobLocation {
  Id pack;
  PackedBlob blob;
};
using IdSet = std::unordered_set<Id, IdHash>;

class IndexMap {
 public:
  explicit IndexMap(uint64_t max_blobs);

  // Adds what an index file says. INDEX_TOO_LARGE (kResourceExhausted) past the bound; then the
  // file is not there.
  Result<void> AddFile(const Id& file, std::span<const IndexedPack> packs);
  // Packs that no other file names are forgotten with their blobs.
  void DropFiles(std::span<const Id> files);
  bool HasFile(const Id& file) const;
  std::vector<Id> Files() const;

  bool Has(const BlobHandle& handle) const;
  // As if the packs of `leaving` were not there.
  bool HasOutside(const BlobHandle& handle, const IdSet& leaving) const;
  std::optional<BlobLocation> Find(const BlobHandle& handle) const;
  // Every pack that has it.
  std::vector<BlobLocation> FindAll(const BlobHandle& handle) const;
  uint64_t blob_count() const;
  // Where the last blob of a pack ends; 0 when the pack is not known.
  uint64_t PackEnd(const Id& pack) const;

  // Neither may call back.
  void ForEachBlob(const std::function<void(const Id& pack, const PackedBlob& blob)>& fn) const;
  // Pack by pack, blobs in the order of their offsets, with the index files that name it.
  using OnPack = std::function<Result<void>(const IndexedPack& pack, std::span<const Id> files)>;
  Result<void> ForEachPack(const OnPack& fn) const;

 private:
  struct Entry {
    Id id;
    uint32_t pack_and_type = 0;  // the lowest bit is the type
    uint32_t offset = 0;
    uint32_t length = 0;
    uint32_t raw_length = 0;
  };
  struct Pack {
    Id id;
    uint32_t end = 0;
    bool live = false;
    std::vector<uint32_t> files;
  };
  static constexpr size_t kChunk = 1U << 13U;
  using Chunk = std::array<Entry, kChunk>;

  Entry& At(size_t index) { return (*chunks_[index / kChunk])[index % kChunk]; }
  const Entry& At(size_t index) const { return (*chunks_[index / kChunk])[index % kChunk]; }
  static BlobHandle HandleOf(const Entry& entry);
  BlobLocation LocationOf(const Entry& entry) const;
  size_t SlotOf(const BlobHandle& handle) const;
  // Calls `fn` with each entry of the handle until it returns true.
  template <class Fn>
  bool Probe(const BlobHandle& handle, Fn fn) const;
  void Link(uint32_t index);
  void Rehash(size_t slots);
  Result<void> AddPacks(const Id& file, std::span<const IndexedPack> packs);
  Result<void> AddBlob(uint32_t pack, const PackedBlob& blob);
  uint32_t PackNumber(const Id& id);
  void RemoveEntriesOfDeadPacks();

  const uint64_t max_blobs_;
  const uint64_t seed_;
  mutable std::shared_mutex mutex_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  size_t count_ = 0;
  std::vector<uint32_t> slots_;  // 0: empty; otherwise an entry's index and one
  std::vector<Pack> packs_;
  std::vector<uint32_t> free_packs_;
  std::unordered_map<Id, uint32_t, IdHash> pack_numbers_;
  std::unordered_map<Id, uint32_t, IdHash> file_numbers_;
  std::unordered_map<uint32_t, Id> file_ids_;
  uint32_t next_file_ = 0;
};

}  // namespace atl::repository
