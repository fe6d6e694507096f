// SPDX-License-Identifier: Apache-2.0
// Members as real sandboxes: given away once, finished after a crash, never seen.
#include <algorithm>

#include "sandbox/test_world.h"

namespace atl::sandbox {
namespace {

class WarmPoolTest : public RegistryTest {
 protected:
  void SetUp() override {
    RegistryTest::SetUp();
    if (world_) StartPool(1);
  }
  void TearDown() override {
    if (!world_) return;
    StopPool();
    // Who wants none has none left.
    StartPool(0);
    StopPool();
    for (const Info& info : world_->registry().List()) ASSERT_TRUE(Delete(info.id));
    ExpectNothingLeft();
    RegistryTest::TearDown();
  }

  void StartPool(uint32_t target) {
    PoolOptions options{.warm_target = target,
                        .refresh_interval = std::chrono::milliseconds(100),
                        .max = target,
                        .opencode = false,
                        .free_memory = 0,
                        .max_load = 1e9};
    PoolHooks hooks;
    hooks.identity = identity_;
    world_->registry().SetUpPool(options, hooks);
    world_->registry().StartPool();
    if (target > 0) AwaitWarm(target);
  }
  void StopPool() {
    world_->Wait([](Registry& registry) -> async::Task<bool> {
      co_await registry.StopPool();
      co_return true;
    }(world_->registry()));
  }
  // A new daemon with a pool of `target`.
  void RestartWith(uint32_t target) {
    StopPool();
    Restart();
    StartPool(target);
  }
  void AwaitWarm(size_t count) {
    for (int i = 0; i < 3000 && world_->registry().pool_stats().warm != count; ++i) {
      ::usleep(10'000);
    }
    ASSERT_EQ(world_->registry().pool_stats().warm, count);
  }
  Row Member() {
    auto all = Rows(world_->database()).All();
    EXPECT_TRUE(all);
    for (Row& row : *all) {
      if (!row.pool_key.empty()) return row;
    }
    return {};
  }
  static bool IsClaimed(const Result<Registry::Created>& created) {
    EXPECT_TRUE(created) << created.error().message;
    return created &&
           std::ranges::any_of(created->phases, [](auto& one) { return one.first == "claim"; });
  }

  std::string identity_ = "1";
};

TEST_F(WarmPoolTest, AMemberBecomesWhoIsAskedFor) {
  Row member = Member();
  EXPECT_EQ(member.id, "~" + member.iid);
  EXPECT_TRUE(world_->registry().List().empty());
  EXPECT_FALSE(world_->registry().Find(member.id));
  EXPECT_FALSE(Delete(member.id));
  EXPECT_FALSE(world_->Run(member.id, "echo"));
  auto created = world_->Create("demo", {.pids = 32, .env = {{"GREETING", "hi"}}});
  ASSERT_TRUE(IsClaimed(created));
  EXPECT_EQ(created->info.iid, member.iid);
  EXPECT_EQ(created->info.limits.pids, 32U);
  EXPECT_EQ(world_->Say("demo", "hostname; echo $GREETING; cat /etc/hosts"),
            "demo\nhi\n127.0.0.1 localhost\n127.0.1.1 demo\n");
  AwaitWarm(1);
  EXPECT_NE(Member().iid, member.iid);
}

TEST_F(WarmPoolTest, WhatHappenedToAMemberHappenedToTheSandboxThatItBecomes) {
  Row member = Member();
  ASSERT_TRUE(IsClaimed(world_->Create("demo")));
  EventLog& log = world_->registry().events();
  auto events = log.Last("demo", 100);
  ASSERT_TRUE(events);
  ASSERT_GE(events->size(), 3U);
  EXPECT_EQ(events->front().state, "creating");
  EXPECT_EQ(events->back().detail, "it was waiting in the pool");
  for (const Event& event : *events) EXPECT_EQ(event.iid, member.iid);
  EXPECT_TRUE(log.Last(member.id, 100)->empty());
  // Of one that was never anybody's nothing stays.
  AwaitWarm(1);
  std::string other = Member().id;
  EXPECT_FALSE(log.Last(other, 100)->empty());
  world_->Wait([](Registry& registry) -> async::Task<bool> {
    co_await registry.EmptyPool();
    co_return true;
  }(world_->registry()));
  EXPECT_TRUE(log.Last(other, 100)->empty());
}

TEST_F(WarmPoolTest, WhatWasGivenAwayBeforeACrashIsFinishedAfterIt) {
  Row row = Member();
  row.id = "torn";
  row.env = {{"GREETING", "hi"}};
  StopPool();
  ASSERT_TRUE(Rows(world_->database()).Claim(row));
  Restart();
  EXPECT_EQ(world_->Say("torn", "hostname; echo $GREETING; cat /etc/hosts"),
            "torn\nhi\n127.0.0.1 localhost\n127.0.1.1 torn\n");
  StartPool(1);
}

TEST_F(WarmPoolTest, ItIsGivenAwayOnce) {
  Row row = Member();
  row.id = "one";
  StopPool();
  Rows rows(world_->database());
  ASSERT_TRUE(rows.Claim(row));
  row.id = "two";
  EXPECT_FALSE(rows.Claim(row));
  Restart();
  ASSERT_EQ(world_->registry().List().size(), 1U);
  EXPECT_EQ(world_->registry().List()[0].id, "one");
  StartPool(1);
}

TEST_F(WarmPoolTest, TheNextDaemonAdoptsItOrReplacesIt) {
  std::string iid = Member().iid;
  RestartWith(1);
  EXPECT_EQ(Member().iid, iid);
  identity_ = "2";
  RestartWith(1);
  EXPECT_NE(Member().iid, iid);
  EXPECT_TRUE(IsClaimed(world_->Create("demo")));
}

TEST_F(WarmPoolTest, OneThatHasDiedIsNotGivenAway) {
  std::string iid = Member().iid;
  ASSERT_EQ(::kill(PidOf(iid), SIGKILL), 0);
  auto created = world_->Create("demo");
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(world_->Say("demo", "hostname"), "demo\n");
}

TEST_F(WarmPoolTest, OneThatHasDiedIsReplaced) {
  std::string iid = Member().iid;
  ASSERT_EQ(::kill(PidOf(iid), SIGKILL), 0);
  for (int i = 0; i < 1000 && (Member().iid == iid || Member().iid.empty()); ++i) ::usleep(10'000);
  EXPECT_NE(Member().iid, iid);
  AwaitWarm(1);
}

TEST_F(WarmPoolTest, OneThatFailsIsReplacedWithoutAWord) {
  Result<Registry::Created> created;
  // The pool may look after its members just then, and make another one.
  for (int tries = 0; tries < 20; ++tries) {
    Row member = Member();
    // Its agent does not answer any more.
    ASSERT_EQ(::unlink((world_->launcher().RunDir(member.iid) + "/agent.sock").c_str()), 0);
    created = world_->Create("demo", {.env = {{"GREETING", "hi"}}});
    ASSERT_TRUE(created) << created.error().message;
    if (IsClaimed(created)) break;
    ASSERT_TRUE(Delete("demo"));
    AwaitWarm(1);
  }
  ASSERT_TRUE(IsClaimed(created));
  EXPECT_EQ(world_->Say("demo", "hostname; echo $GREETING"), "demo\nhi\n");
}

TEST_F(WarmPoolTest, ALayerWithOtherBoundsIsMadeAnew) {
  // Limits that no sandbox can have are refused as ever.
  auto refused = world_->Create("bad", {.memory_bytes = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(ReasonOf(refused.error()), "VALIDATION_FAILED");
  EXPECT_EQ(world_->registry().pool_stats().warm, 1U);
}

TEST_F(WarmPoolTest, TheMembersThatWaitCanBeRemoved) {
  std::string iid = Member().iid;
  world_->Wait([](Registry& registry) -> async::Task<bool> {
    co_await registry.EmptyPool();
    co_return true;
  }(world_->registry()));
  EXPECT_EQ(world_->registry().pool_stats().warm, 0U);
  world_->registry().PrimePool();
  AwaitWarm(1);
  EXPECT_NE(Member().iid, iid);
}

}  // namespace
}  // namespace atl::sandbox
