// SPDX-License-Identifier: Apache-2.0
// Makes a directory of a sandbox what a snapshot says.
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

struct RestoreOptions {
  // A directory inside the snapshot, absolute or relative to the one it was taken of; empty: that.
  std::string from_dir;
  std::string to_dir;  // where to; empty: where it was taken
  enum class Mode { kReplace, kMerge } mode = Mode::kReplace;
  // Absolute paths in the target that stay as they are, whatever the snapshot says.
  std::vector<std::string> keep;
  // See BackupOptions: held while the staged content changes place.
  std::function<Result<void>(bool frozen)> freeze;
  OnProgress on_progress;
  // What is known of the files in place; null: nothing.
  KnownFilesStore::Table known;
  std::stop_token stop;
  int workers = 0;
  // Where given: filled in when Restore returns, also when it fails.
  struct RestoreResult* partial = nullptr;
};

struct RestoreResult {
  std::string dir;           // where it went
  uint64_t files = 0;        // in the snapshot, directories not counted
  uint64_t bytes_total = 0;  // of their contents
  uint64_t files_written = 0;
  uint64_t bytes_written = 0;
  uint64_t files_kept = 0;       // were as they had to be
  uint64_t removed = 0;          // entries that the snapshot does not have
  uint64_t special_skipped = 0;  // device nodes and sockets
  // There was not room for old and new side by side: files were replaced one after the other.
  bool piecewise = false;
  struct Failure {
    std::string path;
    std::string message;
  };
  std::vector<Failure> failures;  // only when piecewise: what could not be restored; the first 100
  uint64_t failure_count = 0;
  double freeze_ms = 0;
  double duration_ms = 0;
  std::vector<std::pair<std::string, double>> phases;
};

// A file in place with the size, mtime, ctime and inode of its node is kept; with another ctime or
// inode it is kept when its content has the node's hashes. Everything else is staged (verified),
// then changes place in one commit. When it fails before the commit the directory is as it was; a
// failure in the commit is finished by the agent. Without room for both, replaces piecewise and
// reports what failed (RESTORE_INCOMPLETE, kResourceExhausted, when anything did).
Result<RestoreResult> Restore(repository::Repository& repository,
                              const repository::SnapshotRecord& snapshot, AgentTree& tree,
                              const RestoreOptions& options);

}  // namespace atl::snapshot
