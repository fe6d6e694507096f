// SPDX-License-Identifier: Apache-2.0
// The trees of a snapshot, read while the repository's lock is still being taken.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/repository.h"

namespace atl::snapshot {

// Deeper trees are taken for cycles or attacks; a walk gives no deeper ones either.
inline constexpr int kMaxTreeDepth = 512;
inline constexpr uint64_t kMaxTreeEntries = 20'000'000;

// The nodes of one directory, in order.
class NodeStream {
 public:
  virtual ~NodeStream() = default;
  // Null at the end; valid until Pop.
  virtual Result<const repository::Node*> Peek() = 0;
  virtual void Pop() = 0;
};

class SnapshotTrees {
 public:
  // Begins to take the lock.
  SnapshotTrees(repository::Repository& repository, std::stop_token stop);
  ~SnapshotTrees();
  SnapshotTrees(const SnapshotTrees&) = delete;
  SnapshotTrees& operator=(const SnapshotTrees&) = delete;

  // Until the lock is held; at once when it is.
  Result<void> WaitLocked();
  double lock_ms() const { return lock_ms_; }

  Result<std::unique_ptr<NodeStream>> Open(const repository::Id& tree);
  // Trees of moderate size come from memory, larger ones are decoded as they go by.
  using OnNode = std::function<Result<void>(const repository::Node&)>;
  Result<void> ForEach(const repository::Id& tree, const OnNode& on_node);

 private:
  bool IsLarge(const repository::Id& tree) const;
  Result<repository::Repository::Tree> Load(const repository::Id& tree);

  repository::Repository& repository_;
  std::stop_token stop_;
  std::future<Result<std::unique_ptr<repository::Lock>>> locking_;
  std::unique_ptr<repository::Lock> lock_;
  double lock_ms_ = 0;
};

// Absolute, '/'-separated, without "." and "..", no '/' at the end but for "/" itself.
bool IsNormalPath(std::string_view path);
// Where the snapshot was taken: its tag, or the only path of one that restic wrote.
Result<std::string> TakenAt(const repository::SnapshotRecord& snapshot);
// The node of a directory inside the snapshot; of "/", one without a name and times.
Result<repository::Node> FindDirectory(SnapshotTrees& trees,
                                       const repository::SnapshotRecord& snapshot,
                                       const std::string& path);

}  // namespace atl::snapshot
