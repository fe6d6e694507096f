// SPDX-License-Identifier: Apache-2.0
// Keeps a repository in order: which snapshots stay, what no snapshot needs, whether all is sound.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

// Of the snapshots of one sandbox and directory. Only what has expired goes, and not what is pinned
// or kept by any rule. The newest of a sandbox and directory stays while the sandbox exists
// (`needed`). Each rule keeps the newest of each of the last so many hours, days, … that have one.
struct KeepRules {
  uint32_t last = 0;
  uint32_t hourly = 0;
  uint32_t daily = 0;
  uint32_t weekly = 0;
  uint32_t monthly = 0;
  bool any() const { return last + hourly + daily + weekly + monthly > 0; }
};
// Which of `snapshots` go, oldest first; earlier editions of one that has other tags now are among
// them. Those without a sandbox tag (that restic wrote) are left
// alone. Times are UTC.
std::vector<repository::SnapshotRecord> Forgettable(
    const std::vector<repository::SnapshotRecord>& snapshots, const KeepRules& rules,
    int64_t now_seconds, const std::function<bool(std::string_view sandbox)>& needed);

// Removes those, under the shared lock; returns how many.
Result<uint64_t> Forget(repository::Repository& repository, const KeepRules& rules,
                        int64_t now_seconds,
                        const std::function<bool(std::string_view sandbox)>& needed,
                        std::stop_token stop = {});

struct PruneOptions {
  double max_unused = 0.05;  // of all bytes: less than this is left alone
  std::function<void(std::string_view phase, double done)> on_progress;
  std::stop_token stop;
};
struct PruneResult {
  uint64_t packs_removed = 0;
  uint64_t packs_repacked = 0;
  uint64_t bytes_freed = 0;
  uint64_t blobs_removed = 0;
  uint64_t bytes_unused = 0;  // that were left
};
// Finds out what is used without a lock in the way of anybody, and stores again what is needed of
// packs that leave under the shared one: 512 MiB at once unless `max_unused` is 0. Takes the
// exclusive lock only when there is something to remove, and then looks again at what came
// meanwhile. Packs that no index
// names and that are older than a day are removed too, and archives of snapshots that are gone.
// Nothing is removed while anything cannot be read (REPOSITORY_DAMAGED, PACK_MISSING, …).
Result<PruneResult> Prune(repository::Repository& repository, const PruneOptions& options);

struct CheckOptions {
  bool read_data = false;  // every byte of every pack; otherwise structure and trees
  std::function<void(std::string_view phase, double done)> on_progress;
  std::stop_token stop;
};
struct CheckResult {
  uint64_t snapshots = 0;
  uint64_t trees = 0;
  uint64_t packs = 0;
  uint64_t blobs = 0;
  uint64_t bytes = 0;
  std::vector<std::string> errors;  // each names the object; the first 1000
  std::vector<std::string> hints;   // harmless: unused or doubled blobs, stale locks
};
Result<CheckResult> Check(repository::Repository& repository, const CheckOptions& options);

struct Stats {
  uint64_t snapshots = 0;
  uint64_t sandboxes = 0;
  uint64_t packs = 0;
  uint64_t blobs = 0;
  uint64_t stored_bytes = 0;    // of packs
  uint64_t plain_bytes = 0;     // of blobs, before compression
  uint64_t restored_bytes = 0;  // of all snapshots together, as they would be restored
  uint64_t index_files = 0;
};
Result<Stats> CollectStats(repository::Repository& repository, std::stop_token stop = {});

}  // namespace atl::snapshot
