// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_cursor.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace atl::snapshot {
namespace {

using repository::Id;
using repository::Node;

// Plaintext of a tree that is held as a whole: about ten thousand nodes.
constexpr uint64_t kMaxHeld = 4U << 20U;

class HeldCursor : public TreeCursor {
 public:
  explicit HeldCursor(repository::Repository::Tree tree) : tree_(std::move(tree)) {}
  Result<const Node*> Peek() override { return at_ < tree_->size() ? &(*tree_)[at_] : nullptr; }
  void Pop() override { ++at_; }

 private:
  repository::Repository::Tree tree_;
  size_t at_ = 0;
};

class DecodedCursor : public TreeCursor {
 public:
  DecodedCursor(repository::Repository& repository, const Id& tree, const std::stop_token& stop)
      : repository_(repository), outer_(stop, Stopper{&source_}) {
    thread_ = std::thread([this, tree] { Run(tree); });
  }
  ~DecodedCursor() override {
    source_.request_stop();
    thread_.join();
  }

  Result<const Node*> Peek() override {
    if (at_ < batch_.size()) return &batch_[at_];
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !batches_.empty() || end_; });
    if (batches_.empty()) {
      if (!*end_) return std::unexpected(end_->error());
      return nullptr;
    }
    batch_ = std::move(batches_.front());
    batches_.pop_front();
    at_ = 0;
    changed_.notify_all();
    return batch_.data();
  }
  void Pop() override { ++at_; }

 private:
  static constexpr size_t kBatch = 512;
  static constexpr size_t kBatches = 4;

  struct Stopper {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };

  Result<void> Push(std::vector<Node> batch) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, source_.get_token(), [this] { return batches_.size() < kBatches; })) {
      return Fail(Code::kCancelled, "reading the tree was given up");
    }
    batches_.push_back(std::move(batch));
    changed_.notify_all();
    return {};
  }

  Result<void> Decode(const Id& tree, bool& given) {
    std::vector<Node> batch;
    TRY(repository_.ForEachNode(
        tree,
        [&](Node node) -> Result<void> {
          given = true;
          batch.push_back(std::move(node));
          if (batch.size() < kBatch) return {};
          return Push(std::exchange(batch, {}));
        },
        source_.get_token()));
    return batch.empty() ? Result<void>() : Push(std::move(batch));
  }

  void Run(const Id& tree) {
    bool given = false;
    Result<void> done = Decode(tree, given);
    if (!done && !given && done.error().code == Code::kInternal &&
        repository_.Refresh(source_.get_token())) {
      done = Decode(tree, given);
    }
    std::lock_guard lock(mutex_);
    end_ = std::move(done);
    changed_.notify_all();
  }

  repository::Repository& repository_;
  std::stop_source source_;
  std::stop_callback<Stopper> outer_;
  std::vector<Node> batch_;
  size_t at_ = 0;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::vector<Node>> batches_;
  std::optional<Result<void>> end_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<TreeCursor>> TreeCursor::Open(repository::Repository& repository,
                                                     const Id& tree, std::stop_token stop) {
  auto found = repository.Find({repository::BlobType::kTree, tree});
  if (found && found->blob.PlainLength() > kMaxHeld) {
    return std::make_unique<DecodedCursor>(repository, tree, stop);
  }
  auto nodes = repository.LoadTree(tree, stop);
  if (!nodes && nodes.error().code == Code::kInternal && repository.Refresh(stop)) {
    nodes = repository.LoadTree(tree, stop);
  }
  if (!nodes) return std::unexpected(std::move(nodes).error());
  return std::make_unique<HeldCursor>(*std::move(nodes));
}

}  // namespace atl::snapshot
