// SPDX-License-Identifier: Apache-2.0
// What prune ends with: an index without some packs, then the packs are removed.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "repository/parallel.h"
#include "repository/repository_impl.h"
#include "repository/session.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

constexpr size_t kRemovers = 8;

// Files of a prefix, several at a time; goes on past errors and gives the first.
Result<void> RemoveAll(blob::Store& store, FileType type, const std::vector<Id>& files,
                       const std::stop_token& stop) {
  std::mutex mutex;
  std::optional<Error> error;
  const size_t threads = store.remote() ? kRemovers : 1;
  TRY(ForEachParallel(threads, std::span<const Id>(files), [&](const Id& file) -> Result<void> {
    if (stop.stop_requested()) return Fail(Code::kCancelled, "stopped while files were removed");
    auto removed = store.Remove(KeyOf(type, file), stop);
    if (removed) return {};
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(removed).error();
    return {};
  }));
  if (error) return std::unexpected(std::move(*error));
  return {};
}

}  // namespace

Result<void> RepositoryImpl::ReplaceIndex(const std::vector<Id>& gone, std::stop_token stop) {
  const IdSet leaving(gone.begin(), gone.end());
  IdSet replaced;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [file, problem] : problems_) {
      if (file.first != FileType::kIndex) continue;
      return Fail(Code::kFailedPrecondition,
                  fmt::format("the index is not to be replaced while a part of it cannot be read: "
                              "{}",
                              problem.message),
                  "INDEX_DAMAGED");
    }
    replaced = indexes_at_lock_;
  }
  // A file that came later may name a pack that leaves.
  TRY(index_.ForEachPack([&](const IndexedPack& pack, std::span<const Id> files) -> Result<void> {
    if (leaving.contains(pack.pack)) replaced.insert(files.begin(), files.end());
    return {};
  }));
  std::vector<Id> old_files;
  for (const Id& file : index_.Files()) {
    if (replaced.contains(file)) old_files.push_back(file);
  }

  IndexFile next;
  next.supersedes = old_files;
  size_t blobs = 0;
  std::vector<Id> new_files;
  const auto write = [&]() -> Result<void> {
    ASSIGN(const Id file, PutUnpacked(*store_, key_, FileType::kIndex, EncodeIndex(next), stop));
    new_files.push_back(file);
    next = {};
    blobs = 0;
    return {};
  };
  TRY(index_.ForEachPack([&](const IndexedPack& pack, std::span<const Id> files) -> Result<void> {
    const bool stays_named = std::any_of(files.begin(), files.end(),
                                         [&](const Id& file) { return !replaced.contains(file); });
    if (leaving.contains(pack.pack) || stays_named || pack.blobs.empty()) return {};
    if (blobs > 0 && blobs + pack.blobs.size() > kMaxIndexBlobs) TRY(write());
    blobs += pack.blobs.size();
    next.packs.push_back(pack);
    return {};
  }));
  if (blobs > 0) TRY(write());
  for (const Id& file : new_files) TRY(LoadIndexFile(file, stop));

  TRY(RemoveAll(*store_, FileType::kIndex, old_files, stop));
  {
    const std::lock_guard lock(mutex_);
    for (const Id& file : old_files) {
      index_generations_.erase(file);
      indexes_at_lock_.erase(file);
    }
    indexes_at_lock_.insert(new_files.begin(), new_files.end());
  }
  index_.DropFiles(old_files);
  for (const Id& pack : gone) packs_.Drop(pack);
  return RemoveAll(*store_, FileType::kData, gone, stop);
}

}  // namespace atl::repository
