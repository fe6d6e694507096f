// SPDX-License-Identifier: Apache-2.0
// Which blobs snapshots need: ids in memory, about 40 bytes each.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

// A set of ids, numbered in the order in which they come.
class IdTable {
 public:
  IdTable();
  // True: it is new.
  bool Insert(const repository::Id& id);
  std::optional<uint32_t> Find(const repository::Id& id) const;
  size_t size() const { return count_; }

 private:
  static constexpr size_t kChunk = 1U << 12U;
  using Chunk = std::array<repository::Id, kChunk>;

  const repository::Id& At(uint32_t number) const {
    return (*chunks_[number / kChunk])[number % kChunk];
  }
  size_t SlotOf(const repository::Id& id) const;
  void Grow();

  const uint64_t seed_;
  size_t count_ = 0;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint32_t> slots_;  // 0: empty; otherwise a number and one
};

class UsedBlobs {
 public:
  bool Insert(const repository::BlobHandle& handle);
  bool Has(const repository::BlobHandle& handle) const { return Find(handle).has_value(); }
  // A number below size(), as long as nothing is inserted.
  std::optional<uint32_t> Find(const repository::BlobHandle& handle) const;
  size_t trees() const { return trees_.size(); }
  size_t size() const { return data_.size() + trees_.size(); }

 private:
  IdTable data_;
  IdTable trees_;
};

// Told of what is wrong, one call at a time; an error that it returns ends the walk.
using OnTreeError = std::function<Result<void>(Error error)>;

// Adds to `used` all that `snapshots` need, from several threads. Trees that it has already are
// taken to be complete. What cannot be read and what no index names is told to `on_error`.
Result<void> MarkUsed(repository::Repository& repository,
                      std::span<const repository::SnapshotRecord> snapshots, UsedBlobs& used,
                      const OnTreeError& on_error, const std::function<void(double done)>& progress,
                      std::stop_token stop);

}  // namespace atl::snapshot
