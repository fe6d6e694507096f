// SPDX-License-Identifier: Apache-2.0
// Kept-alive connections to one server, and how many requests may be under way.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "async/runtime.h"
#include "http/client.h"

namespace atl::blob {

// Lives on one shard; `transport` is null until it is connected.
struct S3Connection {
  async::Executor executor;
  std::unique_ptr<http::Transport> transport;
  std::chrono::steady_clock::time_point used_at;
};

class S3Pool {
 public:
  S3Pool(async::Runtime& runtime, int slots) : runtime_(runtime), slots_(slots) {}

  // The right to send one request at a time.
  class Slot {
   public:
    explicit Slot(S3Pool* pool) : pool_(pool) {}
    Slot(Slot&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot();

   private:
    S3Pool* pool_;
  };
  // Waits for one; kCancelled when `stop` is requested first.
  Result<Slot> Acquire(const std::stop_token& stop);

  // The connection that was used last, or a new one that is not connected yet; always that when
  // `fresh`, and then the old ones are closed: what broke one of them has broken them all.
  S3Connection Take(bool fresh);
  void Give(S3Connection connection);

 private:
  async::Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable_any slot_free_;
  int slots_;
  std::vector<S3Connection> idle_;  // oldest first
};

}  // namespace atl::blob
