// SPDX-License-Identifier: Apache-2.0
// Reads files from the agent over several connections and stores their content.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/chunk_pool.h"
#include "snapshot/file_content.h"
#include "snapshot/file_worker.h"
#include "snapshot/first_error.h"

namespace atl::snapshot {

class FilePipeline {
 public:
  struct Options {
    std::string dir;
    size_t workers = 1;
    // Called by any thread, in any order.
    std::function<void(FileAnswer answer)> on_answer;
    // Once, by any thread: NoMore was called and the agent is not needed any longer.
    std::function<void()> on_all_read;
  };
  FilePipeline(AgentTree& tree, repository::Repository& repository, repository::Session& session,
               FirstError& errors, Options options);
  ~FilePipeline();  // gives up what is not done; the errors must have been stopped
  FilePipeline(const FilePipeline&) = delete;
  FilePipeline& operator=(const FilePipeline&) = delete;

  void Read(std::vector<FileGroup> groups);
  void NoMore();
  uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }

 private:
  // The next groups for one worker. Nothing: there are none (now, or ever when `wait`).
  std::optional<std::vector<FileGroup>> Next(bool wait);
  void OneRead();

  AgentTree& tree_;
  FirstError& errors_;
  Options options_;
  std::shared_ptr<const repository::ChunkerTables> tables_;
  ChunkPool pool_;
  ZeroChunk zero_;
  std::atomic<uint64_t> bytes_read_ = 0;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::vector<FileGroup>> batches_;
  uint64_t unread_ = 0;  // groups
  size_t idle_ = 0;      // workers that wait
  bool no_more_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace atl::snapshot
