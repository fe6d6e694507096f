// SPDX-License-Identifier: Apache-2.0
// Takes a snapshot: a directory of a sandbox becomes trees and blobs of a repository.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "repository/records.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/known_files.h"
#include "snapshot/progress.h"

namespace atl::snapshot {

struct BackupOptions {
  std::string dir;  // absolute and normal; the snapshot's tree holds its whole path, as restic's do
  repository::Tags tags;             // sandbox, dir, name, trigger, expires, labels
  std::vector<std::string> exclude;  // absolute paths
  std::string hostname;              // empty: this host's
  // Stops (true) and continues (false) the programs of the sandbox; empty: they go on running. It
  // is called with false on every way out of Backup, and as soon as the last changed file is read.
  std::function<Result<void>(bool frozen)> freeze;
  // Asked once all is read: false when the programs were let go on too early, and then the snapshot
  // is not tagged as frozen. Empty: true.
  std::function<bool()> stayed_frozen;
  // True: when the tree equals the parent's, no snapshot is written; `unchanged` says so.
  bool skip_if_unchanged = false;
  // Null: that of the process.
  KnownFilesStore* known = nullptr;
  OnProgress on_progress;
  std::stop_token stop;
  int workers = 0;  // 0: as many as there are processors
};

struct BackupResult {
  repository::SnapshotRecord record;       // the parent's when `unchanged`
  bool unchanged = false;                  // no snapshot was written
  uint64_t bytes_added = 0;                // as stored, compressed and sealed
  uint64_t bytes_total = 0;                // of all files' contents
  uint64_t files = 0;                      // entries that are no directories
  uint64_t files_changed = 0;              // regular files that were read
  uint64_t changed_while_read = 0;         // files whose content may be a mixture
  uint64_t skipped = 0;                    // entries that vanished or could not be read
  std::vector<std::string> skipped_paths;  // the first 100
  std::vector<std::string> left_out;       // of those, what exists; or its directory (left_out.h)
  double freeze_ms = 0;
  double duration_ms = 0;
  std::vector<std::pair<std::string, double>> phases;  // name, milliseconds
  uint64_t store_requests = 0;
};

// How a sandbox's directories are named in a KnownFilesStore.
std::string KnownOwner(const repository::Repository& repository, const std::string& sandbox);

// The parent is the newest snapshot of the same sandbox and directory: files whose size, mtime,
// ctime and inode are as they were are not read (known_files.h). The lock is waited for while the
// tree is walked. Durable when it returns. Files that changed while they were read are read again,
// up to three times, together with a SQLite database's -wal, -shm and -journal.
Result<BackupResult> Backup(repository::Repository& repository, AgentTree& tree,
                            const BackupOptions& options);

}  // namespace atl::snapshot
