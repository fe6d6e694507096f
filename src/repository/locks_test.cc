// SPDX-License-Identifier: Apache-2.0
#include "repository/locks.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "repository/test_repository.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Id PutLock(Repository& repository, const LockRecord& record) {
  return Must(
      PutUnpacked(repository.store(), repository.key(), FileType::kLock, EncodeLock(record), {}));
}

LockRecord Foreign(bool exclusive, int64_t age_seconds = 0) {
  LockRecord record = OwnLock(exclusive);
  record.hostname = "another-host";
  record.time.seconds -= age_seconds;
  return record;
}

// The number of a process that has ended.
pid_t GoneProcess() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return pid;
}

TEST(Locks, LeaveNothingBehind) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  {
    const auto first = Must(repository->LockShared());
    const auto second = Must(repository->LockShared());
    EXPECT_TRUE(first->valid());
    EXPECT_EQ(store->Keys("locks/").size(), 2U);
  }
  EXPECT_TRUE(store->Keys("locks/").empty());
  {
    const auto lock = Must(repository->LockExclusive());
  }
  EXPECT_TRUE(store->Keys("locks/").empty());
}

TEST(Locks, ExclusiveWaitsForSharedOfThisProcess) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  auto shared = Must(repository->LockShared());
  const uint64_t keys = store->Keys().size();
  const auto refused = repository->LockExclusive();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_LOCKED");
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(store->Keys().size(), keys);

  std::jthread releaser([&] {
    std::this_thread::sleep_for(milliseconds(50));
    shared.reset();
  });
  EXPECT_TRUE(repository->LockExclusive());
}

TEST(Locks, OfAnotherHostAreRespected) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const Id id = PutLock(*repository, Foreign(false));
  EXPECT_TRUE(repository->LockShared());
  const auto refused = repository->LockExclusive();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_LOCKED");
  EXPECT_NE(refused.error().message.find("another-host"), std::string::npos);
  Must(store->Remove(KeyOf(FileType::kLock, id)));
  PutLock(*repository, Foreign(true));
  EXPECT_FALSE(repository->LockShared());
  EXPECT_EQ(store->Keys("locks/").size(), 1U);  // ours is not left
}

TEST(Locks, TwoRepositoriesOfOneProcessSeeEachOther) {
  const auto store = NewStore();
  const auto first = MustOpen(store);
  const auto second = MustOpen(store);
  auto lock = Must(first->LockShared());
  EXPECT_TRUE(second->LockShared());
  EXPECT_FALSE(second->LockExclusive());
  lock.reset();
  lock = Must(second->LockExclusive());
  EXPECT_FALSE(first->LockShared());
  Must(first->RemoveOwnStaleLocks());
  EXPECT_EQ(store->Keys("locks/").size(), 1U);
}

TEST(Locks, StaleOnesAreRemoved) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  PutLock(*repository, Foreign(true, 31 * 60));
  LockRecord gone = OwnLock(true);
  gone.pid = GoneProcess();
  PutLock(*repository, gone);
  // Made by an earlier process that had the number of this one.
  LockRecord earlier = OwnLock(true);
  earlier.time.seconds -= 1000;
  PutLock(*repository, earlier);
  EXPECT_TRUE(repository->LockExclusive());
  EXPECT_TRUE(store->Keys("locks/").empty());
}

TEST(Locks, OwnStaleOnesAreRemovedAtStart) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const Id kept = PutLock(*repository, Foreign(true));
  LockRecord gone = OwnLock(false);
  gone.pid = GoneProcess();
  PutLock(*repository, gone);
  LockRecord earlier = OwnLock(true);
  earlier.time.seconds -= 1000;
  PutLock(*repository, earlier);
  Must(repository->RemoveOwnStaleLocks());
  EXPECT_EQ(store->Keys("locks/"), std::vector<std::string>{KeyOf(FileType::kLock, kept)});
}

TEST(Locks, OneThatCannotBeReadIsInTheWayUntilItIsOld) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const std::string key = KeyOf(FileType::kLock, Hash("other"));
  store->Set(key, "rubbish");
  const auto refused = repository->LockShared();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_LOCKED");
  store->SetModified(key, (Now().seconds - 3600) * 1000);
  EXPECT_TRUE(repository->LockShared());
  EXPECT_TRUE(store->Keys("locks/").empty());
}

TEST(Locks, AreRenewed) {
  const auto store = NewStore();
  LockTimes times = TestTimes();
  times.refresh = milliseconds(30);
  const auto repository = MustOpen(store, times);
  const auto lock = Must(repository->LockShared());
  const auto first = store->Keys("locks/");
  ASSERT_EQ(first.size(), 1U);
  std::atomic<bool> was_without = false;
  const auto until = steady_clock::now() + milliseconds(500);
  while (steady_clock::now() < until) {
    if (store->Keys("locks/").empty()) was_without = true;
  }
  EXPECT_FALSE(was_without);
  EXPECT_NE(store->Keys("locks/"), first);
  EXPECT_TRUE(lock->valid());
}

TEST(Locks, AreLostWhenTheyCannotBeRenewed) {
  const auto store = NewStore();
  LockTimes times = TestTimes();
  times.refresh = milliseconds(20);
  times.give_up = milliseconds(150);
  const auto repository = MustOpen(store, times);
  const auto lock = Must(repository->LockShared());
  store->SetHook([](std::string_view operation, const std::string&) -> Result<void> {
    if (operation == "put") return Fail(Code::kUnavailable, "503");
    return {};
  });
  std::this_thread::sleep_for(milliseconds(60));
  EXPECT_TRUE(lock->valid());
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_FALSE(lock->valid());
  // For good: others may have come meanwhile.
  store->SetHook({});
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_FALSE(lock->valid());
}

TEST(Locks, OneThatCouldNotBeRemovedIsRemovedLater) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  {
    const auto lock = Must(repository->LockExclusive());
    store->SetHook([](std::string_view operation, const std::string&) -> Result<void> {
      if (operation == "remove") return Fail(Code::kUnavailable, "503");
      return {};
    });
  }
  EXPECT_EQ(store->Keys("locks/").size(), 1U);
  store->SetHook({});
  EXPECT_TRUE(repository->LockExclusive());
  EXPECT_TRUE(store->Keys("locks/").empty());
}

TEST(Locks, OneThatArrivesAfterItWasGivenUpIsRemovedLater) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  std::string late;
  store->SetHook([&late](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation != "put") return {};
    late = key;
    return Fail(Code::kCancelled, "nobody waits any more");
  });
  EXPECT_FALSE(repository->LockShared());
  store->SetHook({});
  EXPECT_TRUE(store->Keys("locks/").empty());
  store->Set(late, "a lock");
  EXPECT_TRUE(repository->LockExclusive());
  EXPECT_TRUE(store->Keys("locks/").empty());
}

TEST(Locks, WaitEndsWhenStopped) {
  const auto store = NewStore();
  LockTimes times = TestTimes();
  times.wait = std::chrono::minutes(1);
  const auto repository = MustOpen(store, times);
  PutLock(*repository, Foreign(true));
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(100));
    stop.request_stop();
  });
  const auto begun = steady_clock::now();
  const auto refused = repository->LockShared(stop.get_token());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCancelled);
  EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(5));
}

TEST(Locks, ManyAtOnceNeverOverlapAnExclusive) {
  const auto store = NewStore();
  LockTimes times = TestTimes();
  times.wait = std::chrono::seconds(60);
  const auto first = MustOpen(store, times);
  const auto second = MustOpen(store, times);
  std::atomic<int> shared = 0;
  std::atomic<int> exclusive = 0;
  std::atomic<int> wrong = 0;
  const auto work = [&](Repository& repository, bool is_exclusive) {
    for (int i = 0; i < 3; ++i) {
      const auto lock = Must(is_exclusive ? repository.LockExclusive() : repository.LockShared());
      (is_exclusive ? exclusive : shared).fetch_add(1);
      if (exclusive > 1 || (exclusive == 1 && shared > 0)) ++wrong;
      std::this_thread::sleep_for(milliseconds(2));
      if (exclusive > 1 || (exclusive == 1 && shared > 0)) ++wrong;
      (is_exclusive ? exclusive : shared).fetch_sub(1);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (Repository* repository : {first.get(), second.get()}) {
      threads.emplace_back([&, repository] { work(*repository, false); });
      threads.emplace_back([&, repository] { work(*repository, true); });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(store->Keys("locks/").empty());
}

}  // namespace
}  // namespace atl::repository
