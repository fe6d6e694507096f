// SPDX-License-Identifier: Apache-2.0
// What index files, locks and snapshots a repository has at a moment.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "blob/store.h"
#include "repository/id.h"

namespace atl::repository {

struct ListedLock {
  Id id;
  int64_t modified_ms = 0;
};

struct Listing {
  std::vector<ListedLock> locks;
  std::vector<Id> indexes;
  std::vector<Id> snapshots;
  // When it was begun, in the repository's count of changes.
  uint64_t generation = 0;
};

// One request on a remote store, as long as the answer fits into one.
Result<Listing> ListRepository(blob::Store& store, bool with_locks, std::stop_token stop);
Result<std::vector<ListedLock>> ListLocks(blob::Store& store, std::stop_token stop);

}  // namespace atl::repository
