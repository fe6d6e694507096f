// SPDX-License-Identifier: Apache-2.0
// Replaces the content of a directory by renames: at every moment the directory, together with what
// lies beside its entries in three kinds of staging directories, holds all of the old content or
// all of the new, and the names say which.
//
//   .atoll-restore-X   the new content, before the swap is decided
//   .atoll-old-X       old entries that were moved away
//   .atoll-ready-X     the new content once all old entries are away: from now on it moves in
//
// `old` beside `restore` is undone, `ready` is finished, `old` alone is rubbish.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "agent/staging.h"
#include "base/result.h"

namespace atl::agent {

// Makes a `.atoll-restore-X` in the directory and returns X.
Result<std::string> MakeSwapStaging(int root);

// The owner, mode and times that the directory itself gets.
struct OwnMetadata {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec mtime{};
};

// Moves the old content out and what `.atoll-restore-<id>` holds in. After a failure the directory
// is as it was, or Settle makes it so.
Result<void> Swap(int root, const std::string& id, const OwnMetadata& own);

// Undoes or finishes what a killed Swap left. Only renames; the caller holds the directory's lock.
Result<void> SettleSwap(int root);

}  // namespace atl::agent
