// SPDX-License-Identifier: Apache-2.0
// The JSON of snapshots and locks.
// https://restic.readthedocs.io/en/stable/100_references.html#snapshots and #locks
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/id.h"
#include "repository/names.h"
#include "repository/tree.h"

namespace atl::repository {

// The member "summary", as restic 0.17 and later write it; older ones drop it.
struct Summary {
  uint64_t files_new = 0;
  uint64_t files_changed = 0;
  uint64_t files_unmodified = 0;
  uint64_t dirs_new = 0;
  uint64_t dirs_changed = 0;
  uint64_t dirs_unmodified = 0;
  uint64_t data_blobs = 0;
  uint64_t tree_blobs = 0;
  uint64_t data_added = 0;         // plaintext bytes of new blobs
  uint64_t data_added_packed = 0;  // as stored
  uint64_t total_files_processed = 0;
  uint64_t total_bytes_processed = 0;
  Time backup_start;
  Time backup_end;
  bool operator==(const Summary&) const = default;
};

struct SnapshotRecord {
  // The hash of the file; not part of it.
  Id file;
  Time time;
  std::optional<Id> parent;
  Id tree;
  std::vector<std::string> paths;
  std::string hostname;
  std::string username;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<std::string> excludes;
  std::vector<std::string> tags;
  // The first snapshot that this one is an edition of (other tags): its id goes on being the
  // snapshot's.
  std::optional<Id> original;
  std::string program_version;
  std::optional<Summary> summary;

  Id id() const { return original.value_or(file); }
  Tags decoded_tags() const { return DecodeTags(tags); }
};
// Two files are editions of one snapshot when both say so and have the same tree: `restic rewrite`
// keeps `original` for what is another snapshot. Changing tags that is cut short, or two at once,
// leave several.
bool SameSnapshot(const SnapshotRecord& a, const SnapshotRecord& b);
// Of two editions, which counts: the same for everybody who sees both.
bool IsLaterEdition(const SnapshotRecord& record, const SnapshotRecord& than);
std::string EncodeSnapshot(const SnapshotRecord& record);
Result<SnapshotRecord> DecodeSnapshot(std::string_view json);

struct LockRecord {
  Time time;
  bool exclusive = false;
  std::string hostname;
  std::string username;
  int64_t pid = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
};
std::string EncodeLock(const LockRecord& record);
Result<LockRecord> DecodeLock(std::string_view json);

}  // namespace atl::repository
