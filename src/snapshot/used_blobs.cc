// SPDX-License-Identifier: Apache-2.0
#include "snapshot/used_blobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstring>
#include <random>
#include <thread>

#include "snapshot/first_error.h"

namespace atl::snapshot {
namespace {

using repository::BlobHandle;
using repository::BlobType;
using repository::Id;
using repository::Node;
using repository::NodeType;

// Ids that a thread holds before it tells them.
constexpr size_t kBatch = 4096;

size_t Threads(bool remote) {
  return std::clamp<size_t>(std::thread::hardware_concurrency(), remote ? 4 : 1, 8);
}

class Marking {
 public:
  Marking(repository::Repository& repository, UsedBlobs& used, const OnTreeError& on_error,
          const std::function<void(double done)>& progress, const std::stop_token& stop)
      : repository_(repository),
        used_(used),
        on_error_(on_error),
        progress_(progress),
        outer_(stop),
        first_(stop) {}

  Result<void> Run(std::span<const repository::SnapshotRecord> snapshots) {
    for (const repository::SnapshotRecord& record : snapshots) {
      std::vector<BlobHandle> root = {{.type = BlobType::kTree, .id = record.tree}};
      auto added = Add(root, fmt::format("snapshot {}", record.file.Short()));
      if (!added) return added;
    }
    {
      std::vector<std::jthread> others;
      for (size_t i = 1; i < Threads(repository_.store().remote()); ++i) {
        others.emplace_back([this] { Work(); });
      }
      Work();
    }
    if (outer_.stop_requested()) {
      return Fail(Code::kCancelled, "stopped while the trees of the snapshots were read");
    }
    if (first_.stopped()) {
      return Unexpected(first_.Or({.code = Code::kCancelled, .message = "stopped"}));
    }
    return {};
  }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      const bool some =
          changed_.wait(lock, first_.token(), [this] { return !waiting_.empty() || busy_ == 0; });
      if (!some || first_.stopped() || waiting_.empty()) return;
      const Id tree = waiting_.back();
      waiting_.pop_back();
      ++busy_;
      lock.unlock();
      Result<void> read = Read(tree);
      lock.lock();
      --busy_;
      ++done_;
      if (!read) first_.Set(std::move(read).error());
      if (progress_ && done_ % 64 == 0) {
        progress_(static_cast<double>(done_) /
                  static_cast<double>(done_ + waiting_.size() + busy_));
      }
      changed_.notify_all();
    }
  }

  Result<void> Read(const Id& tree) {
    const std::string parent = fmt::format("tree {}", tree.Short());
    std::vector<BlobHandle> found;
    std::optional<Error> refused;
    auto read = repository_.ForEachNode(
        tree,
        [&](const Node& node) -> Result<void> {
          if (node.type == NodeType::kDirectory) {
            found.push_back({.type = BlobType::kTree, .id = node.subtree});
          }
          for (const Id& id : node.content) found.push_back({.type = BlobType::kData, .id = id});
          if (found.size() < kBatch) return {};
          auto added = Add(found, parent);
          if (!added) refused = added.error();
          return added;
        },
        first_.token());
    if (refused) return Unexpected(std::move(*refused));
    if (!read && read.error().code == Code::kCancelled) return read;
    if (!read) {
      const std::lock_guard lock(errors_);
      TRY(on_error_(std::move(read).error().Wrap(parent)));
    }
    return Add(found, parent);
  }

  // Takes what `parent` names.
  Result<void> Add(std::vector<BlobHandle>& found, const std::string& parent) {
    std::vector<BlobHandle> added;
    {
      const std::lock_guard lock(mutex_);
      for (const BlobHandle& handle : found) {
        if (used_.Insert(handle)) added.push_back(handle);
      }
    }
    found.clear();
    std::vector<Id> trees;
    for (const BlobHandle& handle : added) {
      if (!repository_.Has(handle)) {
        const std::lock_guard lock(errors_);
        TRY(on_error_({.code = Code::kInternal,
                       .message = fmt::format("{}: the {} blob {} that it needs is in no index",
                                              parent, BlobTypeName(handle.type), handle.id.Short()),
                       .reason = "BLOB_MISSING"}));
      } else if (handle.type == BlobType::kTree) {
        trees.push_back(handle.id);
      }
    }
    const std::lock_guard lock(mutex_);
    waiting_.insert(waiting_.end(), trees.rbegin(), trees.rend());
    if (!trees.empty()) changed_.notify_all();
    return {};
  }

  repository::Repository& repository_;
  UsedBlobs& used_;
  const OnTreeError& on_error_;
  const std::function<void(double done)>& progress_;
  const std::stop_token outer_;
  FirstError first_;
  std::mutex errors_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Id> waiting_;
  size_t busy_ = 0;
  uint64_t done_ = 0;
};

}  // namespace

IdTable::IdTable()
    : seed_([] {
        std::random_device device;
        return (uint64_t{device()} << 32U) ^ device();
      }()),
      slots_(1024) {}

// Seeded: whoever chooses contents must not be able to make one chain of their ids.
size_t IdTable::SlotOf(const Id& id) const {
  uint64_t word = 0;
  std::memcpy(&word, id.bytes.data() + 8, sizeof(word));
  return ((word ^ seed_) * 0x9e3779b97f4a7c15ULL) >>
         (64U - static_cast<unsigned>(std::countr_zero(slots_.size())));
}

std::optional<uint32_t> IdTable::Find(const Id& id) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = SlotOf(id); slots_[slot] != 0; slot = (slot + 1) & mask) {
    if (At(slots_[slot] - 1) == id) return slots_[slot] - 1;
  }
  return std::nullopt;
}

bool IdTable::Insert(const Id& id) {
  if (Find(id)) return false;
  if ((count_ + 1) * 4 > slots_.size() * 3) Grow();
  if (count_ / kChunk == chunks_.size()) chunks_.push_back(std::make_unique<Chunk>());
  (*chunks_[count_ / kChunk])[count_ % kChunk] = id;
  const size_t mask = slots_.size() - 1;
  size_t slot = SlotOf(id);
  while (slots_[slot] != 0) slot = (slot + 1) & mask;
  slots_[slot] = static_cast<uint32_t>(++count_);
  return true;
}

void IdTable::Grow() {
  const size_t slots = slots_.size() * 2;
  slots_ = {};
  slots_.resize(slots);
  const size_t mask = slots - 1;
  for (uint32_t i = 0; i < count_; ++i) {
    size_t slot = SlotOf(At(i));
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = i + 1;
  }
}

bool UsedBlobs::Insert(const BlobHandle& handle) {
  return (handle.type == BlobType::kTree ? trees_ : data_).Insert(handle.id);
}

std::optional<uint32_t> UsedBlobs::Find(const BlobHandle& handle) const {
  const bool tree = handle.type == BlobType::kTree;
  const auto number = (tree ? trees_ : data_).Find(handle.id);
  if (!number) return std::nullopt;
  return tree ? *number : static_cast<uint32_t>(trees_.size()) + *number;
}

Result<void> MarkUsed(repository::Repository& repository,
                      std::span<const repository::SnapshotRecord> snapshots, UsedBlobs& used,
                      const OnTreeError& on_error, const std::function<void(double done)>& progress,
                      std::stop_token stop) {
  return Marking(repository, used, on_error, progress, stop).Run(snapshots);
}

}  // namespace atl::snapshot
