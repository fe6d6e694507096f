// SPDX-License-Identifier: Apache-2.0
// A lock that coroutines wait for without blocking a thread. Fair, usable from any shard.
#pragma once

#include <memory>
#include <utility>

#include "async/task.h"

namespace atl::async {

class Mutex {
 public:
  class Lock {
   public:
    Lock() = default;
    explicit Lock(Mutex* mutex) : mutex_(mutex) {}
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&& other) noexcept {
      if (this != &other) {
        Unlock();
        mutex_ = std::exchange(other.mutex_, nullptr);
      }
      return *this;
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { Unlock(); }
    void Unlock();

   private:
    Mutex* mutex_ = nullptr;
  };

  Mutex();
  ~Mutex();
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Waits for its turn. The wait cannot be cancelled; who holds the lock must use deadlines.
  Task<Lock> Acquire();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Tells any number of waiting coroutines, on any shards, that something has happened.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void Set();
  bool is_set() const;
  // Returns at once when set; also returns, unset, when cancelled (WithTimeout, Race).
  Task<> Wait();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace atl::async
