// SPDX-License-Identifier: Apache-2.0
#include "repository/locks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "base/log.h"
#include "repository/held_lock.h"
#include "repository/lock_owner.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

using std::chrono::steady_clock;
constexpr uint64_t kMaxLockBytes = 64U << 10U;
constexpr size_t kMaxLeftovers = 10'000;

std::unexpected<Error> FailLocked(std::string_view holder) {
  return Fail(Code::kUnavailable, fmt::format("the repository is locked: {}", holder),
              "REPOSITORY_LOCKED");
}

std::unexpected<Error> FailStopped() {
  return Fail(Code::kCancelled, "stopped while waiting for the repository's lock");
}

std::string Describe(const Id& id, const LockRecord& record) {
  if (record.hostname.empty()) return fmt::format("the lock {} cannot be read", id.Short());
  return fmt::format("{} lock {} of {}@{}, process {}, since {}",
                     record.exclusive ? "exclusive" : "shared", id.Short(), record.username,
                     record.hostname, record.pid, FormatTime(record.time));
}

}  // namespace

Locks::Locks(blob::Store& store, const Key& key, LockTimes times)
    : store_(store), key_(key), times_(times) {
  SurviveHangup();
}

Locks::~Locks() {
  for (const Id& id : leftovers_) ForgetLock(id);
}

Result<void> Locks::Enter(bool exclusive, Deadline deadline, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  // Shared ones let one exclusive in that waits: otherwise prune might never come.
  const auto free = [&] {
    return exclusive ? shared_ == 0 && !exclusive_ : !exclusive_ && exclusive_waiting_ == 0;
  };
  if (exclusive) ++exclusive_waiting_;
  const bool entered = changed_.wait_until(lock, stop, deadline, free);
  if (exclusive) --exclusive_waiting_;
  if (!entered) {
    changed_.notify_all();
    if (stop.stop_requested()) return FailStopped();
    return FailLocked("by another operation of this process");
  }
  if (exclusive) {
    exclusive_ = true;
  } else {
    ++shared_;
  }
  return {};
}

void Locks::Leave(bool exclusive) {
  const std::lock_guard lock(mutex_);
  if (exclusive) {
    exclusive_ = false;
  } else {
    --shared_;
  }
  changed_.notify_all();
}

Result<Id> Locks::PutFile(bool exclusive, const std::stop_token& stop) {
  const SealedFile file = SealFile(key_, EncodeLock(OwnLock(exclusive)));
  HoldLock(file.id);
  auto put = store_.Put(KeyOf(FileType::kLock, file.id), file.bytes, stop);
  if (!put) {
    // It may have arrived all the same, or arrive now that it is removed: then it is removed when
    // it is next seen, as long as that many are remembered.
    RemoveFile(file.id);
    const std::lock_guard lock(mutex_);
    if (leftovers_.size() < kMaxLeftovers) leftovers_.insert(file.id);
    return std::unexpected(std::move(put).error());
  }
  return file.id;
}

void Locks::RemoveFile(const Id& id) {
  const auto removed = store_.Remove(KeyOf(FileType::kLock, id));
  if (removed) {
    ForgetLock(id);
    const std::lock_guard lock(mutex_);
    leftovers_.erase(id);
    return;
  }
  log::Warning("{} of {} could not be removed: {}", KeyOf(FileType::kLock, id), store_.name(),
               removed.error().message);
  const std::lock_guard lock(mutex_);
  leftovers_.insert(id);
}

Result<std::optional<LockRecord>> Locks::Read(const Id& id, const std::stop_token& stop) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = read_.find(id); found != read_.end()) return found->second;
  }
  LockRecord record;
  auto json = LoadUnpacked(store_, key_, FileType::kLock, id, kMaxLockBytes, stop);
  if (!json) {
    if (json.error().code == Code::kNotFound) return std::nullopt;
    if (!IsCorrupt(json.error())) return std::unexpected(std::move(json).error());
  } else if (auto decoded = DecodeLock(*json); decoded && !decoded->hostname.empty()) {
    record = std::move(*decoded);
  }
  const std::lock_guard lock(mutex_);
  read_.insert_or_assign(id, record);
  return record;
}

bool Locks::IsStale(const ListedLock& listed, const LockRecord& record) {
  const auto now_ms = [](Time time) { return (time.seconds * 1000) + (time.nanos / 1'000'000); };
  if (!record.hostname.empty()) {
    return OwnerIsGone(listed.id, record) ||
           now_ms(Now()) - now_ms(record.time) > times_.stale.count();
  }
  // Not to be read: as old as the store says, or as long as it has been seen.
  if (listed.modified_ms > 0) return now_ms(Now()) - listed.modified_ms > times_.stale.count();
  const std::lock_guard lock(mutex_);
  const auto [seen, added] = first_seen_.try_emplace(listed.id, steady_clock::now());
  return steady_clock::now() - seen->second > times_.stale;
}

Result<std::optional<std::string>> Locks::InTheWay(const Listing& listing, bool exclusive,
                                                   const std::optional<Id>& own,
                                                   const std::stop_token& stop) {
  std::set<Id> listed;
  std::optional<std::string> blocked;
  for (const ListedLock& lock : listing.locks) {
    listed.insert(lock.id);
    if (lock.id == own) continue;
    bool leftover = false;
    {
      const std::lock_guard guard(mutex_);
      leftover = leftovers_.contains(lock.id);
    }
    if (leftover) {
      RemoveFile(lock.id);
      continue;
    }
    ASSIGN(const auto record, Read(lock.id, stop));
    if (!record) continue;
    if (IsStale(lock, *record)) {
      log::Info("{}: removing a stale lock: {}", store_.name(), Describe(lock.id, *record));
      TRY(store_.Remove(KeyOf(FileType::kLock, lock.id), stop));
      continue;
    }
    if (exclusive || record->exclusive || record->hostname.empty()) {
      blocked = Describe(lock.id, *record);
    }
  }
  const std::lock_guard guard(mutex_);
  std::erase_if(read_, [&](const auto& entry) { return !listed.contains(entry.first); });
  std::erase_if(first_seen_, [&](const auto& entry) { return !listed.contains(entry.first); });
  return blocked;
}

void Locks::SleepBetween(int attempt, Deadline deadline, const std::stop_token& stop) {
  thread_local std::minstd_rand random(std::random_device{}());
  const int64_t longest = std::min<int64_t>(5000, 200LL << std::min(attempt, 6));
  const auto pause =
      std::chrono::milliseconds(std::uniform_int_distribution(longest / 2, longest)(random));
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_until(lock, stop, std::min(deadline, steady_clock::now() + pause),
                   [] { return false; });
}

Result<Locks::Held> Locks::Acquire(bool exclusive, const List& list, const std::stop_token& stop) {
  const Deadline deadline = steady_clock::now() + times_.wait;
  TRY(Enter(exclusive, deadline, stop));
  bool kept = false;
  struct Leaver {
    Locks& locks;
    bool exclusive;
    bool& kept;
    ~Leaver() {
      if (!kept) locks.Leave(exclusive);
    }
  } const leaver{.locks = *this, .exclusive = exclusive, .kept = kept};

  int attempt = 0;
  // Even an exclusive lock that is soon taken back makes others give up: not without need.
  if (exclusive) TRY(WaitUntilFree(exclusive, std::nullopt, attempt, deadline, stop));
  // Our file first, then a look: of two that do so at once at least one sees the other. Who has to
  // wait takes its file away, so that two that wait are not in each other's way.
  while (true) {
    ASSIGN(const Id own, PutFile(exclusive, stop));
    auto listing = list(stop);
    auto blocked = listing ? InTheWay(*listing, exclusive, own, stop)
                           : Result<std::optional<std::string>>(std::unexpected(listing.error()));
    if (blocked && !*blocked) {
      Held held;
      held.lock = std::make_unique<HeldLock>(*this, exclusive, own);
      held.listing = std::move(*listing);
      kept = true;
      return held;
    }
    RemoveFile(own);
    if (!blocked) return std::unexpected(std::move(blocked).error());
    TRY(WaitUntilFree(exclusive, std::move(*blocked), attempt, deadline, stop));
  }
}

Result<void> Locks::WaitUntilFree(bool exclusive, std::optional<std::string> blocked, int& attempt,
                                  Deadline deadline, const std::stop_token& stop) {
  while (true) {
    if (blocked) {
      SleepBetween(attempt++, deadline, stop);
      if (stop.stop_requested()) return FailStopped();
      if (steady_clock::now() >= deadline) return FailLocked(*blocked);
    }
    Listing listing;
    ASSIGN(listing.locks, ListLocks(store_, stop));
    ASSIGN(blocked, InTheWay(listing, exclusive, std::nullopt, stop));
    if (!blocked) return {};
  }
}

Result<void> Locks::RemoveOwnStale() {
  ASSIGN(const auto locks, ListLocks(store_, {}));
  for (const ListedLock& lock : locks) {
    ASSIGN(const auto record, Read(lock.id, {}));
    if (!record || !OwnerIsGone(lock.id, *record)) continue;
    log::Info("{}: removing a lock that was left: {}", store_.name(), Describe(lock.id, *record));
    TRY(store_.Remove(KeyOf(FileType::kLock, lock.id)));
  }
  return {};
}

}  // namespace atl::repository
