// SPDX-License-Identifier: Apache-2.0
#include "repository/listing.h"

#include <utility>

#include "repository/names.h"

namespace atl::repository {
namespace {

// What an S3 store gives at once.
constexpr size_t kPage = 1000;

void Sort(const std::vector<blob::Entry>& entries, Listing& listing) {
  for (const blob::Entry& entry : entries) {
    const auto parsed = ParseKey(entry.key);
    if (!parsed) continue;
    if (parsed->type == FileType::kIndex) listing.indexes.push_back(parsed->id);
    if (parsed->type == FileType::kSnapshot) listing.snapshots.push_back(parsed->id);
    if (parsed->type == FileType::kLock) {
      listing.locks.push_back({.id = parsed->id, .modified_ms = entry.modified_ms});
    }
  }
}

Result<void> AddPrefix(blob::Store& store, FileType type, const std::stop_token& stop,
                       Listing& listing) {
  ASSIGN(const auto entries, store.List({.prefix = PrefixOf(type), .start_after = {}}, stop));
  Sort(entries, listing);
  return {};
}

}  // namespace

Result<Listing> ListRepository(blob::Store& store, bool with_locks, std::stop_token stop) {
  Listing listing;
  if (store.remote()) {
    // '0' follows '/': behind everything in data/.
    ASSIGN(const auto entries, store.List({.prefix = {}, .start_after = "data0"}, stop));
    Sort(entries, listing);
    if (entries.size() < kPage) return listing;
    // Several pages are several moments. Locks have been seen by now; what is listed below is at
    // least as new as they are.
    listing.indexes.clear();
    listing.snapshots.clear();
  } else if (with_locks) {
    TRY(AddPrefix(store, FileType::kLock, stop, listing));
  }
  // A snapshot is written after its index: in this order the index of each one is seen.
  TRY(AddPrefix(store, FileType::kSnapshot, stop, listing));
  TRY(AddPrefix(store, FileType::kIndex, stop, listing));
  return listing;
}

Result<std::vector<ListedLock>> ListLocks(blob::Store& store, std::stop_token stop) {
  Listing listing;
  TRY(AddPrefix(store, FileType::kLock, stop, listing));
  return std::move(listing.locks);
}

}  // namespace atl::repository
