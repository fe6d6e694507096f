// SPDX-License-Identifier: Apache-2.0
// Brings index and snapshots in memory up to date with the store.
#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "repository/parallel.h"
#include "repository/repository_impl.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

using std::chrono::steady_clock;
constexpr uint64_t kTreeCacheBytes = 64U << 20U;
constexpr uint64_t kMaxSnapshotBytes = 16U << 20U;
constexpr size_t kRemoteThreads = 8;
// A file that was found damaged is looked at again after this.
constexpr std::chrono::seconds kTryAgain(60);

}  // namespace

RepositoryImpl::RepositoryImpl(std::shared_ptr<blob::Store> store, Options options, const Key& key,
                               RepositoryConfig config, LockTimes times)
    : store_(std::move(store)),
      options_(std::move(options)),
      key_(key),
      config_(std::move(config)),
      chunker_tables_(ChunkerTables::For(config_.chunker_polynomial)),
      index_(options_.max_blobs),
      trees_(kTreeCacheBytes),
      packs_(*store_, options_.cache_dir, options_.cache_bytes),
      locks_(*store_, key_, times) {}

Result<Listing> RepositoryImpl::ListNow(bool with_locks, const std::stop_token& stop) {
  const uint64_t generation = ++generation_;
  ASSIGN(auto listing, ListRepository(*store_, with_locks, stop));
  listing.generation = generation;
  return listing;
}

Result<std::unique_ptr<Lock>> RepositoryImpl::AcquireLock(bool exclusive,
                                                          const std::stop_token& stop) {
  const auto list = [this](const std::stop_token& token) { return ListNow(true, token); };
  ASSIGN(auto held, locks_.Acquire(exclusive, list, stop));
  TRY(Apply(held.listing, stop));
  if (exclusive) {
    const std::vector<Id> files = index_.Files();
    const std::lock_guard lock(mutex_);
    indexes_at_lock_ = IdSet(files.begin(), files.end());
  }
  return std::move(held.lock);
}

Result<std::unique_ptr<Lock>> RepositoryImpl::LockShared(std::stop_token stop) {
  return AcquireLock(false, stop);
}

Result<std::unique_ptr<Lock>> RepositoryImpl::LockExclusive(std::stop_token stop) {
  return AcquireLock(true, stop);
}

Result<void> RepositoryImpl::Refresh(std::stop_token stop) {
  ASSIGN(const auto listing, ListNow(false, stop));
  return Apply(listing, stop);
}

Result<void> RepositoryImpl::Apply(const Listing& listing, const std::stop_token& stop) {
  const std::lock_guard apply(apply_mutex_);
  // New ones first: a blob that prune has moved is never missing in between.
  TRY(LoadNew(listing.indexes, FileType::kIndex, stop));
  TRY(LoadNew(listing.snapshots, FileType::kSnapshot, stop));
  DropGone(listing);
  return {};
}

bool RepositoryImpl::IsKnown(FileType type, const Id& file) const {
  if (type == FileType::kIndex) {
    if (index_.HasFile(file)) return true;
  }
  const std::lock_guard lock(mutex_);
  if (type == FileType::kSnapshot && snapshots_.contains(file)) return true;
  const auto problem = problems_.find({type, file});
  return problem != problems_.end() && steady_clock::now() - problem->second.tried < kTryAgain;
}

Result<void> RepositoryImpl::LoadNew(const std::vector<Id>& listed, FileType type,
                                     const std::stop_token& stop) {
  std::vector<Id> wanted;
  for (const Id& file : listed) {
    if (!IsKnown(type, file)) wanted.push_back(file);
  }
  const size_t threads = store_->remote()
                             ? kRemoteThreads
                             : std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 4);
  const auto load = [&](const Id& file) -> Result<void> {
    auto loaded =
        type == FileType::kIndex ? LoadIndexFile(file, stop) : LoadSnapshotFile(file, stop);
    // Removed since it was listed.
    if (!loaded && loaded.error().code == Code::kNotFound) return {};
    if (!loaded && !IsCorrupt(loaded.error())) return loaded;
    const std::lock_guard lock(mutex_);
    if (loaded) {
      problems_.erase({type, file});
      return {};
    }
    const bool is_new =
        problems_
            .insert_or_assign({type, file}, Problem{.message = loaded.error().message,
                                                    .tried = steady_clock::now()})
            .second;
    if (is_new) log::Warning("{}: left out: {}", store_->name(), loaded.error().message);
    return {};
  };
  return ForEachParallel(threads, std::span<const Id>(wanted), load);
}

Result<void> RepositoryImpl::LoadIndexFile(const Id& file, const std::stop_token& stop) {
  std::vector<IndexedPack> packs;
  {
    ASSIGN(const auto json,
           LoadUnpacked(*store_, key_, FileType::kIndex, file, kMaxIndexBytes, stop));
    const auto decoded = DecodeIndex(json, [&](IndexedPack pack) -> Result<void> {
      packs.push_back(std::move(pack));
      return {};
    });
    if (!decoded) return FailCorrupt(FileType::kIndex, file, decoded.error().message);
  }
  {
    const std::lock_guard lock(mutex_);
    index_generations_[file] = ++generation_;
  }
  return index_.AddFile(file, packs);
}

Result<void> RepositoryImpl::LoadSnapshotFile(const Id& file, const std::stop_token& stop) {
  ASSIGN(const auto json,
         LoadUnpacked(*store_, key_, FileType::kSnapshot, file, kMaxSnapshotBytes, stop));
  auto record = DecodeSnapshot(json);
  if (!record) return FailCorrupt(FileType::kSnapshot, file, record.error().message);
  record->file = file;
  Hold(*record);
  return {};
}

void RepositoryImpl::DropGone(const Listing& listing) {
  const IdSet indexes(listing.indexes.begin(), listing.indexes.end());
  const IdSet snapshots(listing.snapshots.begin(), listing.snapshots.end());
  std::vector<Id> gone;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(index_generations_, [&](const auto& entry) {
      if (indexes.contains(entry.first) || entry.second > listing.generation) return false;
      gone.push_back(entry.first);
      return true;
    });
    std::erase_if(snapshots_, [&](const auto& entry) {
      return !snapshots.contains(entry.first) && entry.second.generation <= listing.generation;
    });
    std::erase_if(problems_, [&](const auto& entry) {
      const auto& [type, file] = entry.first;
      return !(type == FileType::kIndex ? indexes : snapshots).contains(file);
    });
  }
  index_.DropFiles(gone);
}

std::vector<std::string> RepositoryImpl::problems() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> messages;
  messages.reserve(problems_.size());
  for (const auto& [file, problem] : problems_) messages.push_back(problem.message);
  return messages;
}

Result<Id> RepositoryImpl::WriteIndex(const IndexFile& index, const std::stop_token& stop) {
  ASSIGN(const Id file, PutUnpacked(*store_, key_, FileType::kIndex, EncodeIndex(index), stop));
  {
    const std::lock_guard lock(mutex_);
    index_generations_[file] = ++generation_;
  }
  TRY(index_.AddFile(file, index.packs));
  return file;
}

}  // namespace atl::repository
