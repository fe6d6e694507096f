// SPDX-License-Identifier: Apache-2.0
// An open restic repository: its keys, its index in memory, its locks. Everything blocks and may be
// called from several threads. https://restic.readthedocs.io/en/stable/100_references.html
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "blob/store.h"
#include "repository/chunker.h"
#include "repository/id.h"
#include "repository/key.h"
#include "repository/pack.h"
#include "repository/records.h"
#include "repository/tree.h"

namespace atl::repository {

struct Options {
  std::string password;
  // Of packs of a remote store, least recently used first out. Empty: none. Processes may share it.
  std::string cache_dir;
  uint64_t cache_bytes = 2ULL << 30U;
  // Blobs that the index in memory may have; about 64 bytes each.
  uint64_t max_blobs = 8'000'000;
  std::chrono::milliseconds lock_wait{30'000};
  ScryptParams scrypt;  // of a new repository
};

// Released when destroyed, refreshed meanwhile: restic takes one of 30 minutes' age for stale.
class Lock {
 public:
  virtual ~Lock() = default;
  // False once it could not be refreshed for so long that others may take it for stale: what is
  // not yet committed must not be.
  virtual bool valid() const = 0;
};

// Blobs on their way into packs. Thread safe. Destroying it before Flush gives up what is not in
// the store yet; what is there already is rubbish for prune.
class Session {
 public:
  virtual ~Session() = default;
  // Stores a blob unless the repository has it or this session has taken it. Blocks while too much
  // is on its way. True: it is new.
  struct Saved {
    Id id;
    bool added = false;
  };
  virtual Result<Saved> Save(BlobType type, std::string_view plain) = 0;
  // The same when the caller has hashed it.
  virtual Result<Saved> Save(BlobHandle handle, std::string_view plain) = 0;
  virtual Result<Saved> Save(SealedBlob sealed) = 0;
  // True when it is stored or on its way.
  virtual bool Has(BlobHandle handle) const = 0;
  // All packs durable, then the index. After this a snapshot may refer to the blobs.
  virtual Result<void> Flush() = 0;

  struct Totals {
    uint64_t data_blobs = 0;
    uint64_t tree_blobs = 0;
    uint64_t added = 0;         // plaintext bytes
    uint64_t added_packed = 0;  // bytes as stored
  };
  virtual Totals totals() const = 0;
};

class Repository {
 public:
  // REPOSITORY_EXISTS (kAlreadyExists) when there is one.
  static Result<void> Init(blob::Store& store, const Options& options);
  // REPOSITORY_NOT_FOUND (kNotFound), REPOSITORY_PASSWORD_WRONG, REPOSITORY_VERSION.
  static Result<std::unique_ptr<Repository>> Open(std::shared_ptr<blob::Store> store,
                                                  Options options);
  virtual ~Repository() = default;

  virtual blob::Store& store() = 0;
  virtual const Key& key() const = 0;
  virtual const RepositoryConfig& config() const = 0;
  virtual std::shared_ptr<const ChunkerTables> chunker_tables() const = 0;

  // Puts a lock as restic does, looks at the others, and brings index and snapshots in memory up to
  // date: what is new is loaded, what is gone is dropped. On a remote store the lists of index/,
  // keys/, locks/ and snapshots/ are one request. Waits up to `lock_wait` for a lock that is in the
  // way (REPOSITORY_LOCKED, kUnavailable: it names the holder); stale ones (30 minutes old, or of a
  // process of this host that is gone) are removed. In this process, shared locks and an exclusive
  // one wait for each other without asking the store.
  virtual Result<std::unique_ptr<Lock>> LockShared(std::stop_token stop = {}) = 0;
  virtual Result<std::unique_ptr<Lock>> LockExclusive(std::stop_token stop = {}) = 0;
  // Index and snapshots brought up to date without a lock: for reading lists.
  virtual Result<void> Refresh(std::stop_token stop = {}) = 0;
  // At start: removes locks that an earlier process of this host has left.
  virtual Result<void> RemoveOwnStaleLocks() = 0;

  // What could not be used when index and snapshots were last brought up to date: damaged index
  // and snapshot files, each named with the reason. Their blobs count as missing; ReplaceIndex
  // refuses while an index file is among them.
  virtual std::vector<std::string> problems() const = 0;

  // What the index says. Nothing: no such blob.
  struct Location {
    Id pack;
    PackedBlob blob;
  };
  virtual bool Has(BlobHandle handle) const = 0;
  virtual std::optional<Location> Find(BlobHandle handle) const = 0;
  virtual uint64_t blob_count() const = 0;
  // Every blob of every pack. `fn` must not call back into the repository.
  virtual void ForEachBlob(
      const std::function<void(const Id& pack, const PackedBlob& blob)>& fn) const = 0;

  // Verified plaintext. REPOSITORY_CORRUPT (kInternal) names blob and pack; BLOB_MISSING
  // (kInternal) when the index has none. Packs of trees are fetched whole and cached.
  virtual Result<std::string> Load(BlobHandle handle, std::stop_token stop = {}) = 0;
  // Part of a pack as it is stored, from the cache where it is there. `keep`: fetch the whole pack
  // and cache it.
  virtual Result<std::string> ReadPack(const Id& pack, uint64_t offset, uint64_t length, bool keep,
                                       std::stop_token stop = {}) = 0;

  // The nodes of a tree. A cached tree is shared; `tree` bounds what is kept in memory (64 MiB over
  // all; larger ones are not kept).
  using Tree = std::shared_ptr<const std::vector<Node>>;
  virtual Result<Tree> LoadTree(const Id& tree, std::stop_token stop = {}) = 0;
  // So that the next snapshot finds its parent's trees in memory.
  virtual void RememberTree(const Id& tree, Tree nodes) = 0;
  // Nodes one by one, for trees of any size.
  virtual Result<void> ForEachNode(const Id& tree, const TreeDecoder::OnNode& on_node,
                                   std::stop_token stop = {}) = 0;

  // The caller holds a lock as long as the session lives.
  virtual Result<std::unique_ptr<Session>> Begin(std::stop_token stop = {}) = 0;
  // For prune: the packs of `leaving` count as if they were not there, so that what is still needed
  // of them is stored again.
  virtual Result<std::unique_ptr<Session>> BeginRepack(const std::vector<Id>& leaving,
                                                       std::stop_token stop = {}) = 0;

  // Snapshots in memory, oldest first, of each the edition that counts (IsLaterEdition); Refresh or
  // a lock brings them up to date.
  virtual std::vector<SnapshotRecord> Snapshots() const = 0;
  // With the editions that no longer count.
  virtual std::vector<SnapshotRecord> AllEditions() const = 0;
  // By id or a prefix of at least 8 digits, of its file or of the first edition. BACKUP_NOT_FOUND
  // (kNotFound); SNAPSHOT_AMBIGUOUS (kInvalidArgument).
  virtual Result<SnapshotRecord> FindSnapshot(std::string_view id) const = 0;
  // Fills `record.file`.
  virtual Result<void> SaveSnapshot(SnapshotRecord& record) = 0;
  // With all its editions when the file is the one that counts; an earlier one goes alone.
  virtual Result<void> RemoveSnapshot(const Id& file) = 0;
  // A new edition of `record` with other tags: puts the new file, then removes the old one.
  // SNAPSHOT_CHANGED (kUnavailable) when the file of `record` is gone.
  virtual Result<SnapshotRecord> Retag(const SnapshotRecord& record,
                                       std::vector<std::string> tags) = 0;

  // For prune: a new index without the packs of `gone`, replacing all index files but those written
  // since the lock; then the packs themselves are removed. The caller holds the exclusive lock.
  virtual Result<void> ReplaceIndex(const std::vector<Id>& gone, std::stop_token stop = {}) = 0;
};

}  // namespace atl::repository
