// SPDX-License-Identifier: Apache-2.0
// The daemon's threads: N shards, each one thread with one event loop, and a bounded pool for
// blocking work.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "async/task.h"

namespace atl::async {

// A bounded pool of threads for work that blocks: crun, SQLite, files, hashing.
class BlockingPool {
 public:
  explicit BlockingPool(int threads);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `fn` on a pool thread; returns to the caller's shard. Not cancellable once begun. Give it
  // a named function object: `auto fn = [..] {..}; co_await pool.Run(std::move(fn));`
  template <class Fn>
  Task<std::invoke_result_t<Fn>> Run(Fn fn) {
    using T = std::invoke_result_t<Fn>;
    if constexpr (std::is_void_v<T>) {
      std::function<void()> job = std::ref(fn);
      co_await RunJob(std::move(job));
    } else {
      std::optional<T> result;
      std::function<void()> job = [&] { result.emplace(fn()); };
      co_await RunJob(std::move(job));
      co_return std::move(*result);
    }
  }
  // Queues `fn` and does not wait.
  void Post(std::function<void()> fn);
  void Join();

 private:
  Task<> RunJob(std::function<void()> job);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Runtime {
 public:
  Runtime(int shards, int blocking_threads);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  int shard_count() const;
  Executor shard(int index) const;
  // Round robin.
  Executor NextShard();
  BlockingPool& blocking();

  // Runs shard 0 on the calling thread until Stop.
  void Run();
  void Stop();
  // Calls `fn` on shard 0 for each SIGTERM or SIGINT.
  void OnTerminate(std::function<void()> fn);
  // The same for each SIGUSR2.
  void OnUpgrade(std::function<void()> fn);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Runs `task` to its end on an event loop of its own on this thread: for tests and the command
// line.
void RunToEnd(Task<> task);

}  // namespace atl::async
