// SPDX-License-Identifier: Apache-2.0
#include "snapshot/file_pipeline.h"

#include <utility>

#include "snapshot/file_worker.h"

namespace atl::snapshot {

FilePipeline::FilePipeline(AgentTree& tree, repository::Repository& repository,
                           repository::Session& session, FirstError& errors, Options options)
    : tree_(tree),
      errors_(errors),
      options_(std::move(options)),
      tables_(repository.chunker_tables()),
      pool_(session, errors, options_.workers),
      zero_(pool_, tables_) {}

FilePipeline::~FilePipeline() {
  {
    std::lock_guard lock(mutex_);
    no_more_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void FilePipeline::Read(std::vector<FileGroup> groups) {
  {
    std::lock_guard lock(mutex_);
    unread_ += groups.size();
    batches_.push_back(std::move(groups));
    // A connection costs the agent a process: no more of them than there is work for.
    if (batches_.size() > idle_ && threads_.size() < options_.workers) {
      threads_.emplace_back([this] {
        FileWorker worker({.next = [this](bool wait) { return Next(wait); },
                           .read = [this] { OneRead(); },
                           .answer = options_.on_answer,
                           .bytes_read = &bytes_read_},
                          pool_, zero_, tables_);
        auto ended = worker.Run(tree_, options_.dir, errors_.token());
        if (!ended) errors_.Set(std::move(ended).error());
      });
    }
  }
  changed_.notify_one();
}

std::optional<std::vector<FileGroup>> FilePipeline::Next(bool wait) {
  std::unique_lock lock(mutex_);
  if (wait) {
    ++idle_;
    bool more =
        changed_.wait(lock, errors_.token(), [this] { return no_more_ || !batches_.empty(); });
    --idle_;
    if (!more) return std::nullopt;
  }
  if (batches_.empty()) return std::nullopt;
  auto groups = std::move(batches_.front());
  batches_.pop_front();
  return groups;
}

void FilePipeline::OneRead() {
  {
    std::lock_guard lock(mutex_);
    if (--unread_ > 0 || !no_more_) return;
  }
  options_.on_all_read();
}

void FilePipeline::NoMore() {
  bool all_read = false;
  {
    std::lock_guard lock(mutex_);
    no_more_ = true;
    all_read = unread_ == 0;
  }
  changed_.notify_all();
  if (all_read) options_.on_all_read();
}

}  // namespace atl::snapshot
