// SPDX-License-Identifier: Apache-2.0
// Hashes, compresses, seals and stores chunks on all processors.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "repository/repository.h"
#include "snapshot/first_error.h"

namespace atl::snapshot {

// Hashes a blob; compresses, seals and stores it when it is new.
Result<repository::Id> StoreBlob(repository::Session& session, repository::BlobType type,
                                 std::string_view plain);

class ChunkPool {
 public:
  using Done = std::function<void(const repository::Id& id)>;

  ChunkPool(repository::Session& session, FirstError& errors, size_t threads);
  ~ChunkPool();  // what still waits is dropped
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // Blocks while more than a few chunks wait. `done` is called by a thread of the pool; not after
  // an error, which names `path`.
  Result<void> Submit(std::string chunk, const std::string& path, Done done);
  // On the caller's thread.
  Result<repository::Id> Store(std::string_view chunk);

 private:
  struct Job {
    std::string chunk;
    std::string path;
    Done done;
  };
  void Run();

  repository::Session& session_;
  FirstError& errors_;
  size_t thread_count_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Job> jobs_;
  size_t bytes_ = 0;  // of chunks that wait or are worked on
  bool closing_ = false;
  std::vector<std::thread> threads_;  // started by the first chunk
};

}  // namespace atl::snapshot
