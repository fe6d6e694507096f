// SPDX-License-Identifier: Apache-2.0
// What a prune removes and what it writes again.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "blob/store.h"
#include "repository/repository.h"
#include "snapshot/used_blobs.h"

namespace atl::snapshot {

// What is in the store beside what the repository has in memory.
struct StoreListing {
  std::unordered_map<repository::Id, uint64_t, repository::IdHash> packs;  // with their sizes
  std::vector<repository::Id> old_packs;                                   // older than a day
  std::vector<std::string> temporaries;  // that others have left, older than a day
  std::vector<repository::Id> archives;  // of these snapshots
  uint64_t index_files = 0;
};
Result<StoreListing> ListForPrune(blob::Store& store, const std::string& prefix,
                                  int64_t now_seconds, std::stop_token stop);

using PackSet = std::unordered_set<repository::Id, repository::IdHash>;

struct PrunePlan {
  std::vector<repository::Id> leaving;  // unused packs and those that are repacked
  PackSet repack;                       // of them, those that hold what is needed
  std::vector<repository::Id> orphans;  // that no index names
  uint64_t leaving_bytes = 0;
  uint64_t leaving_blobs = 0;
  uint64_t unused_bytes_left = 0;
  bool merge_index = false;
  bool empty() const { return leaving.empty() && orphans.empty() && !merge_index; }
};
struct PlanRules {
  double max_unused = 0;
  // Of needed blobs that are written again; one pack at least.
  uint64_t max_repack_bytes = std::numeric_limits<uint64_t>::max();
};
// PACK_MISSING (kFailedPrecondition) when a blob that is needed is only in packs that are not in
// the store, or not as long as the index says.
Result<PrunePlan> MakePlan(const repository::Repository& repository, const UsedBlobs& used,
                           const StoreListing& listing, const PlanRules& rules);
// What may go once the needed blobs of `moved` have been stored again: packs that nothing needs any
// more. One of `moved` that something has come to need meanwhile stays. Nothing is repacked.
Result<PrunePlan> MakeFinalPlan(const repository::Repository& repository, const UsedBlobs& used,
                                const StoreListing& listing, const PackSet& moved);

// Stores again what is needed of the packs that leave, each blob verified; flushes. Returns how
// many.
struct Repacked {
  uint64_t blobs = 0;
  uint64_t bytes = 0;  // with headers
};
Result<Repacked> Repack(repository::Repository& repository, const UsedBlobs& used,
                        const std::vector<repository::Id>& leaving,
                        const std::function<void(double done)>& progress, std::stop_token stop);

}  // namespace atl::snapshot
