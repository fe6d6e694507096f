// SPDX-License-Identifier: Apache-2.0
// Locks of a repository: between the threads of this process without asking the store, and between
// processes by restic's lock files.
// https://restic.readthedocs.io/en/stable/100_references.html#locks
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "blob/store.h"
#include "repository/id.h"
#include "repository/key.h"
#include "repository/listing.h"
#include "repository/records.h"
#include "repository/repository.h"

namespace atl::repository {

struct LockTimes {
  std::chrono::milliseconds wait{30'000};
  std::chrono::milliseconds refresh{5 * 60'000};
  // Without a refresh for so long a lock of ours is no longer valid. Less than `stale`.
  std::chrono::milliseconds give_up{20 * 60'000};
  // What everybody takes for stale.
  std::chrono::milliseconds stale{30 * 60'000};
};

class Locks {
 public:
  Locks(blob::Store& store, const Key& key, LockTimes times);
  ~Locks();
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;

  struct Held {
    std::unique_ptr<Lock> lock;
    Listing listing;  // made when the lock was there and no other was in its way
  };
  using List = std::function<Result<Listing>(const std::stop_token& stop)>;
  // `list` is called once the lock's file is in the store.
  Result<Held> Acquire(bool exclusive, const List& list, const std::stop_token& stop);
  Result<void> RemoveOwnStale();

 private:
  friend class HeldLock;
  using Deadline = std::chrono::steady_clock::time_point;

  Result<void> Enter(bool exclusive, Deadline deadline, const std::stop_token& stop);
  void Leave(bool exclusive);
  Result<Id> PutFile(bool exclusive, const std::stop_token& stop);
  void RemoveFile(const Id& id);
  // What is in the way, for a message; nothing when the way is free.
  Result<std::optional<std::string>> InTheWay(const Listing& listing, bool exclusive,
                                              const std::optional<Id>& own,
                                              const std::stop_token& stop);
  // Nothing: the file has gone meanwhile. A record without a host: it cannot be read.
  Result<std::optional<LockRecord>> Read(const Id& id, const std::stop_token& stop);
  bool IsStale(const ListedLock& listed, const LockRecord& record);
  // `blocked`: what is known to be in the way; nothing: not looked yet.
  Result<void> WaitUntilFree(bool exclusive, std::optional<std::string> blocked, int& attempt,
                             Deadline deadline, const std::stop_token& stop);
  static void SleepBetween(int attempt, Deadline deadline, const std::stop_token& stop);

  blob::Store& store_;
  const Key& key_;
  const LockTimes times_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int shared_ = 0;
  bool exclusive_ = false;
  int exclusive_waiting_ = 0;
  // Files never change.
  std::unordered_map<Id, LockRecord, IdHash> read_;
  // Since when an unreadable file is known, where the store does not say.
  std::unordered_map<Id, std::chrono::steady_clock::time_point, IdHash> first_seen_;
  // Files of ours that could not be removed, or that may still arrive.
  std::set<Id> leftovers_;
};

}  // namespace atl::repository
