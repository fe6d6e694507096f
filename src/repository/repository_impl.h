// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "repository/index_map.h"
#include "repository/listing.h"
#include "repository/locks.h"
#include "repository/pack_fetcher.h"
#include "repository/repository.h"
#include "repository/tree_cache.h"

namespace atl::repository {

class RepositoryImpl final : public Repository {
 public:
  RepositoryImpl(std::shared_ptr<blob::Store> store, Options options, const Key& key,
                 RepositoryConfig config, LockTimes times);

  blob::Store& store() override { return *store_; }
  const Key& key() const override { return key_; }
  const RepositoryConfig& config() const override { return config_; }
  std::shared_ptr<const ChunkerTables> chunker_tables() const override { return chunker_tables_; }

  // refresh.cc
  Result<std::unique_ptr<Lock>> LockShared(std::stop_token stop) override;
  Result<std::unique_ptr<Lock>> LockExclusive(std::stop_token stop) override;
  Result<void> Refresh(std::stop_token stop) override;
  Result<void> RemoveOwnStaleLocks() override { return locks_.RemoveOwnStale(); }
  std::vector<std::string> problems() const override;

  bool Has(BlobHandle handle) const override { return index_.Has(handle); }
  std::optional<Location> Find(BlobHandle handle) const override;
  uint64_t blob_count() const override { return index_.blob_count(); }
  void ForEachBlob(
      const std::function<void(const Id& pack, const PackedBlob& blob)>& fn) const override {
    index_.ForEachBlob(fn);
  }

  // load.cc
  Result<std::string> Load(BlobHandle handle, std::stop_token stop) override;
  Result<std::string> ReadPack(const Id& pack, uint64_t offset, uint64_t length, bool keep,
                               std::stop_token stop) override;
  Result<Tree> LoadTree(const Id& tree, std::stop_token stop) override;
  void RememberTree(const Id& tree, Tree nodes) override { trees_.Put(tree, std::move(nodes)); }
  Result<void> ForEachNode(const Id& tree, const TreeDecoder::OnNode& on_node,
                           std::stop_token stop) override;

  // session.cc
  Result<std::unique_ptr<Session>> Begin(std::stop_token stop) override;
  Result<std::unique_ptr<Session>> BeginRepack(const std::vector<Id>& leaving,
                                               std::stop_token stop) override;

  // snapshots.cc
  std::vector<SnapshotRecord> Snapshots() const override;
  std::vector<SnapshotRecord> AllEditions() const override;
  Result<SnapshotRecord> FindSnapshot(std::string_view id) const override;
  Result<void> SaveSnapshot(SnapshotRecord& record) override;
  Result<void> RemoveSnapshot(const Id& file) override;
  Result<SnapshotRecord> Retag(const SnapshotRecord& record,
                               std::vector<std::string> tags) override;

  // replace_index.cc
  Result<void> ReplaceIndex(const std::vector<Id>& gone, std::stop_token stop) override;

  // For sessions.
  IndexMap& index() { return index_; }
  PackFetcher& packs() { return packs_; }
  // Stores an index file, then knows its blobs. `packs` is at most as long as one file may be.
  Result<Id> WriteIndex(const IndexFile& index, const std::stop_token& stop);

 private:
  struct Problem {
    std::string message;
    std::chrono::steady_clock::time_point tried;
  };
  struct HeldSnapshot {
    SnapshotRecord record;
    uint64_t generation = 0;
  };

  Result<Listing> ListNow(bool with_locks, const std::stop_token& stop);
  Result<std::unique_ptr<Lock>> AcquireLock(bool exclusive, const std::stop_token& stop);
  Result<void> Apply(const Listing& listing, const std::stop_token& stop);
  Result<void> LoadNew(const std::vector<Id>& listed, FileType type, const std::stop_token& stop);
  Result<void> LoadIndexFile(const Id& file, const std::stop_token& stop);
  Result<void> LoadSnapshotFile(const Id& file, const std::stop_token& stop);
  bool IsKnown(FileType type, const Id& file) const;
  void DropGone(const Listing& listing);
  void Hold(const SnapshotRecord& record);
  Result<void> RemoveFile(const Id& file);
  // Calls `use` with the sealed bytes of each place of the blob until it succeeds.
  Result<void> WithBlob(
      const BlobHandle& handle, const std::stop_token& stop,
      const std::function<Result<void>(const PackedBlob& blob, std::string_view sealed)>& use);

  const std::shared_ptr<blob::Store> store_;
  const Options options_;
  const Key key_;
  const RepositoryConfig config_;
  const std::shared_ptr<const ChunkerTables> chunker_tables_;
  IndexMap index_;
  TreeCache trees_;
  PackFetcher packs_;
  Locks locks_;

  // One at a time changes tags; taken before mutex_.
  std::mutex edit_mutex_;
  // One at a time brings memory up to date.
  std::mutex apply_mutex_;
  mutable std::mutex mutex_;
  // Counts changes: what came into memory after a listing was begun is not dropped by it.
  std::atomic<uint64_t> generation_ = 0;
  std::unordered_map<Id, uint64_t, IdHash> index_generations_;
  std::unordered_map<Id, HeldSnapshot, IdHash> snapshots_;
  std::map<std::pair<FileType, Id>, Problem> problems_;
  IdSet indexes_at_lock_;  // when the exclusive lock was taken
};

// What Open does, with other times: for tests.
Result<std::unique_ptr<Repository>> OpenRepository(std::shared_ptr<blob::Store> store,
                                                   Options options, LockTimes times);

}  // namespace atl::repository
