// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_trees.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace atl::snapshot {

namespace {

using repository::Id;
using repository::Node;

// Plaintext of a tree that is held as a whole: about ten thousand nodes.
constexpr uint64_t kLargeTree = 4U << 20U;

class HeldStream : public NodeStream {
 public:
  explicit HeldStream(repository::Repository::Tree tree) : tree_(std::move(tree)) {}
  Result<const Node*> Peek() override { return next_ < tree_->size() ? &(*tree_)[next_] : nullptr; }
  void Pop() override { ++next_; }

 private:
  repository::Repository::Tree tree_;
  size_t next_ = 0;
};

// A thread decodes a large tree a little ahead of the reader.
class DecodedStream : public NodeStream {
 public:
  DecodedStream(repository::Repository& repository, const Id& tree, std::stop_token stop)
      : thread_([this, &repository, tree, stop](const std::stop_token& own) {
          Run(repository, tree, stop, own);
        }) {}
  ~DecodedStream() override {
    thread_.request_stop();
    changed_.notify_all();
  }

  Result<const Node*> Peek() override {
    if (next_ < current_.size()) return &current_[next_];
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !batches_.empty() || ended_; });
    if (batches_.empty()) {
      if (failure_) return std::unexpected(*failure_);
      return nullptr;
    }
    current_ = std::move(batches_.front());
    batches_.pop_front();
    next_ = 0;
    changed_.notify_all();
    return &current_[next_];
  }
  void Pop() override { ++next_; }

 private:
  static constexpr size_t kBatch = 512;
  static constexpr size_t kBatches = 4;

  Result<void> Push(std::vector<Node> batch, const std::stop_token& own) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, own, [this] { return batches_.size() < kBatches; });
    if (own.stop_requested()) return Fail(Code::kCancelled, "the tree is not needed any more");
    batches_.push_back(std::move(batch));
    changed_.notify_all();
    return {};
  }

  void Run(repository::Repository& repository, const Id& tree, const std::stop_token& stop,
           const std::stop_token& own) {
    std::vector<Node> batch;
    Result<void> done = repository.ForEachNode(
        tree,
        [&](Node node) -> Result<void> {
          batch.push_back(std::move(node));
          if (batch.size() < kBatch) return {};
          return Push(std::exchange(batch, {}), own);
        },
        stop);
    if (done && !batch.empty()) done = Push(std::move(batch), own);
    std::lock_guard lock(mutex_);
    if (!done) failure_ = std::move(done).error();
    ended_ = true;
    changed_.notify_all();
  }

  std::vector<Node> current_;
  size_t next_ = 0;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::vector<Node>> batches_;
  std::optional<Error> failure_;
  bool ended_ = false;
  std::jthread thread_;  // last: joined before what it uses goes
};

}  // namespace

SnapshotTrees::SnapshotTrees(repository::Repository& repository, std::stop_token stop)
    : repository_(repository), stop_(std::move(stop)) {
  locking_ = std::async(std::launch::async, [this] {
    auto begin = std::chrono::steady_clock::now();
    auto lock = repository_.LockShared(stop_);
    lock_ms_ =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    return lock;
  });
}

SnapshotTrees::~SnapshotTrees() {
  if (locking_.valid()) locking_.wait();
}

Result<void> SnapshotTrees::WaitLocked() {
  if (lock_) return {};
  if (!locking_.valid()) return Fail(Code::kUnavailable, "the repository could not be locked");
  ASSIGN(lock_, locking_.get());
  return {};
}

bool SnapshotTrees::IsLarge(const Id& tree) const {
  auto found = repository_.Find({repository::BlobType::kTree, tree});
  return found && found->blob.PlainLength() > kLargeTree;
}

Result<repository::Repository::Tree> SnapshotTrees::Load(const Id& tree) {
  auto nodes = repository_.LoadTree(tree, stop_);
  if (nodes || lock_) return nodes;
  // The index in memory may be older than the snapshot; with the lock it is up to date.
  TRY(WaitLocked());
  return repository_.LoadTree(tree, stop_);
}

Result<std::unique_ptr<NodeStream>> SnapshotTrees::Open(const Id& tree) {
  if (IsLarge(tree)) {
    TRY(WaitLocked());
    return std::make_unique<DecodedStream>(repository_, tree, stop_);
  }
  ASSIGN(auto nodes, Load(tree));
  return std::make_unique<HeldStream>(std::move(nodes));
}

Result<void> SnapshotTrees::ForEach(const Id& tree, const OnNode& on_node) {
  if (IsLarge(tree)) {
    TRY(WaitLocked());
    return repository_.ForEachNode(tree, [&](const Node& node) { return on_node(node); }, stop_);
  }
  ASSIGN(auto nodes, Load(tree));
  for (const Node& node : *nodes) TRY(on_node(node));
  return {};
}

bool IsNormalPath(std::string_view path) {
  if (path == "/") return true;
  if (path.empty() || path[0] != '/' || path.size() > 4096) return false;
  for (std::string_view rest = path.substr(1);;) {
    size_t slash = rest.find('/');
    std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.contains('\0')) return false;
    if (slash == std::string_view::npos) return true;
    rest.remove_prefix(slash + 1);
  }
}

Result<std::string> TakenAt(const repository::SnapshotRecord& snapshot) {
  std::string dir = snapshot.decoded_tags().dir;
  if (dir.empty() && snapshot.paths.size() == 1) dir = snapshot.paths[0];
  if (dir.empty()) {
    return Fail(Code::kInvalidArgument,
                fmt::format("snapshot {} was taken of {} paths: say which directory is meant",
                            snapshot.id().Short(), snapshot.paths.size()));
  }
  if (!IsNormalPath(dir)) {
    return Fail(Code::kInternal,
                fmt::format("snapshot {} was taken of '{}', which is no absolute path",
                            snapshot.id().Short(), dir),
                "REPOSITORY_CORRUPT");
  }
  return dir;
}

Result<Node> FindDirectory(SnapshotTrees& trees, const repository::SnapshotRecord& snapshot,
                           const std::string& path) {
  Node at;
  at.type = repository::NodeType::kDirectory;
  at.subtree = snapshot.tree;
  at.permissions = 0755;
  for (std::string_view rest = std::string_view(path).substr(1); !rest.empty();) {
    size_t slash = rest.find('/');
    std::string_view part = rest.substr(0, slash);
    std::optional<Node> found;
    TRY(trees.ForEach(at.subtree, [&](const Node& node) -> Result<void> {
      if (node.name == part) found = node.Clone();
      return {};
    }));
    if (!found) {
      return Fail(Code::kNotFound,
                  fmt::format("snapshot {} holds no {}", snapshot.id().Short(), path),
                  "PATH_NOT_FOUND");
    }
    if (found->type != repository::NodeType::kDirectory) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("in snapshot {}, {} is no directory ('{}' is not)",
                              snapshot.id().Short(), path, part),
                  "NOT_A_DIRECTORY");
    }
    at = *std::move(found);
    rest = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  }
  return at;
}

}  // namespace atl::snapshot
