// SPDX-License-Identifier: Apache-2.0
// What is below a directory of a snapshot, in the order of an archive, its contents read ahead.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "repository/repository.h"
#include "snapshot/blob_ahead.h"
#include "snapshot/tree_cursor.h"

namespace atl::snapshot {

class ArchiveSource {
 public:
  struct Item {
    std::string path;  // "./a/b"
    repository::Node node;
    std::string hard_link;  // the path of an earlier item that is the same file; then no content
  };

  ArchiveSource(repository::Repository& repository, const std::stop_token& stop)
      : repository_(repository), stop_(stop), ahead_(repository, stop) {}
  Result<void> Open(const repository::Id& tree) { return Enter(tree, "."); }

  // The next item, a directory before what it holds; valid until the next call. Null at the end.
  Result<const Item*> Next();
  // The next of the current item's blobs, of which all must be taken.
  Result<BlobAhead::Plain> NextBlob();

  // Zeros are cut at the smallest chunk, so a hole is a row of these.
  static const repository::Id& ZeroChunkId();

 private:
  struct Level {
    std::unique_ptr<TreeCursor> cursor;
    std::string path;
  };
  struct Linked {
    std::string path;
    repository::Id content;  // a hash of the ids
  };
  struct Waiting {
    Item item;
    size_t wanted = 0;  // of its blobs
    uint64_t bytes = 0;
  };

  Result<void> Enter(const repository::Id& tree, std::string path);
  Result<std::optional<Item>> Pull();
  void FindLink(Item& item);
  Result<void> Fill();
  void WantMore(Waiting& waiting);

  repository::Repository& repository_;
  std::stop_token stop_;
  std::vector<Level> levels_;
  std::unordered_map<uint64_t, Linked> links_;  // by inode
  std::deque<Waiting> waiting_;                 // the first one is the current item
  uint64_t waiting_bytes_ = 0;                  // of paths and ids
  size_t wanting_ = 0;                          // the first of which not all is wanted
  size_t taken_ = 0;                            // blobs of the current item
  bool begun_ = false;
  bool at_end_ = false;
  BlobAhead ahead_;
};

}  // namespace atl::snapshot
