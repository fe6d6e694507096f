// SPDX-License-Identifier: Apache-2.0
// Looks into snapshots without restoring them. Everything blocks. Paths are relative to the
// directory that a snapshot was taken of ("" is that directory). No lock is taken, so that nobody
// waits for a slow reader: when a prune moves what is being read, it is looked for again.
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

// The directory that the snapshot was taken of: its `dir=` tag, or the only path of one that restic
// wrote. SNAPSHOT_OF_SEVERAL_PATHS (kFailedPrecondition) when that has several.
Result<std::string> SnapshotDir(const repository::SnapshotRecord& snapshot);
// What is at a path, itself: no symlink is followed. Without a name for "/".
Result<repository::Node> FindNode(repository::Repository& repository,
                                  const repository::SnapshotRecord& snapshot, std::string_view path,
                                  std::stop_token stop = {});

struct Listing {
  repository::Node node;                // what is at the path
  std::vector<repository::Node> nodes;  // of a directory, from the one behind `after`
  std::string next;                     // `after` of the next page; empty: the end
};
// PATH_NOT_FOUND (kNotFound).
Result<Listing> List(repository::Repository& repository, const repository::SnapshotRecord& snapshot,
                     std::string_view path, std::string_view after, size_t limit,
                     std::stop_token stop = {});

// A file's content, piece by piece from `offset`, at most `length` bytes.
Result<void> ReadFile(repository::Repository& repository,
                      const repository::SnapshotRecord& snapshot, std::string_view path,
                      uint64_t offset, uint64_t length,
                      const std::function<Result<void>(std::string_view)>& sink,
                      std::stop_token stop = {});

struct DiffEntry {
  // kMetadata: owner, permissions, extended attributes, or, but for directories, the modification
  // time. An entry of another type is removed and added, one that was moved too.
  enum class Kind { kAdded, kChanged, kRemoved, kMetadata } kind = Kind::kAdded;
  std::string path;
  repository::NodeType type = repository::NodeType::kFile;
  uint64_t old_size = 0;
  uint64_t new_size = 0;
};
struct Diff {
  std::vector<DiffEntry> entries;  // the first `limit`, a directory before what it holds
  bool truncated = false;
  uint64_t added = 0;  // entries
  uint64_t changed = 0;
  uint64_t removed = 0;
  uint64_t metadata = 0;
  // Plaintext of the contents of what differs: blobs that only the second has there, and only the
  // first. Trees that are equal are not looked into.
  uint64_t bytes_added = 0;
  uint64_t bytes_removed = 0;
};
Result<Diff> Compare(repository::Repository& repository, const repository::SnapshotRecord& first,
                     const repository::SnapshotRecord& second, size_t limit,
                     std::stop_token stop = {});

// A pax archive, compressed as one zstd stream, piece by piece. Entries are "./…"; device nodes and
// sockets are left out, files of zeros are sparse, links of one file stay so.
Result<void> WriteArchive(repository::Repository& repository,
                          const repository::SnapshotRecord& snapshot,
                          const std::function<Result<void>(std::string_view)>& sink,
                          std::stop_token stop = {});

}  // namespace atl::snapshot
