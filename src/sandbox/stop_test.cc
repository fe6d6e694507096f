// SPDX-License-Identifier: Apache-2.0
// What is saved when a sandbox stops, and what comes back when it starts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "sandbox/transfer_fixture_test.h"

namespace atl::sandbox {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// The tests wait for values.
async::Task<bool> SaveAgain(Registry& registry) {
  co_await registry.SaveAgain();
  co_return true;
}

async::Task<bool> End(Registry& registry) {
  co_await registry.StopAutomatic();
  co_return true;
}

class StopTest : public TransferTest {
 protected:
  Result<Registry::Stopped> Stop(const std::string& id) {
    return world_->Wait(world_->registry().Stop(id));
  }
  // As if another host had it, or somebody had made room.
  void LoseLayer(const std::string& id) {
    std::string iid = world_->registry().Find(id)->iid;
    ASSERT_TRUE(sys::RemoveTree(world_->launcher().LayerDir(iid)));
  }
  bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 600; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
};

TEST_F(StopTest, StoppingSavesAndKeepsTheLayer) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo work > /workspace/a; echo home > /root/b; mkdir -p /root/.cache/x");
  auto stopped = Stop("demo");
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(stopped->save_failure, "");
  EXPECT_GE(stopped->snapshot_ids.size(), 2U);
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  for (const auto& record : Snapshots()) {
    EXPECT_EQ(record.decoded_tags().trigger, repository::Trigger::kStop);
    EXPECT_TRUE(record.decoded_tags().frozen);
  }
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a /root/b"), "work\nhome\n");
  // Nothing has changed: nothing new is kept.
  size_t count = Snapshots().size();
  ASSERT_TRUE(Stop("demo"));
  EXPECT_THAT(Snapshots(), SizeIs(count));
  EXPECT_THAT(Stop("demo")->snapshot_ids, IsEmpty()) << "stopped already";
  EXPECT_EQ(Stop("nobody").error().reason, "SANDBOX_NOT_FOUND");
}

TEST_F(StopTest, OneThatHasDiedIsClearedAwayAndSavedLater) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  world_->Say("demo", "echo work > /workspace/a");
  KillContainer(created->info.iid);
  auto stopped = Stop("demo");
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_THAT(*world_->launcher().runtime().List(), IsEmpty());
  EXPECT_THAT(*world_->launcher().cgroups().List(), IsEmpty());
  EXPECT_THAT(Snapshots(), IsEmpty());
  EXPECT_TRUE(world_->registry().Find("demo")->unsaved);
  world_->Wait(SaveAgain(world_->registry()));
  EXPECT_FALSE(world_->registry().Find("demo")->unsaved);
  EXPECT_THAT(Snapshots(), testing::Not(IsEmpty()));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "work\n");
}

TEST_F(StopTest, AnEmptiedSandboxGetsItsNewestSnapshotsBack) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo work > /workspace/a; echo home > /root/b");
  ASSERT_TRUE(Stop("demo"));
  LoseLayer("demo");
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a /root/b"), "work\nhome\n");

  // On another host there is no row either.
  world_->Say("demo", "echo more >> /workspace/a");
  ASSERT_TRUE(Stop("demo"));
  std::string iid = world_->registry().Find("demo")->iid;
  world_->Close();
  {
    auto database = db::Database::Open(world_->options().state_dir + "/atoll.db");
    ASSERT_TRUE(database);
    auto transaction = (*database)->Begin();
    ASSERT_TRUE(transaction->Execute("DELETE FROM sandboxes WHERE iid = ?1", iid));
    ASSERT_TRUE(transaction->Commit());
  }
  ASSERT_TRUE(world_->launcher().Destroy(iid));
  world_->Open();
  auto created = world_->Create("demo");
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_THAT(created->recovered, SizeIs(testing::Ge(2U)));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a /root/b"), "work\nmore\nhome\n");
}

TEST_F(StopTest, ADaemonThatDiesWhileItFillsALayerBeginsAgain) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo work > /workspace/a");
  ASSERT_TRUE(Stop("demo"));
  ASSERT_EQ(world_->Say("demo", "rm /workspace/a; ls /workspace"), "");
  // As it would have been left: running, and marked as not yet filled.
  std::string iid = world_->registry().Find("demo")->iid;
  ASSERT_TRUE(Rows(world_->database()).SetRecover(iid, true));
  Restart();
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "work\n");
  EXPECT_FALSE(Rows(world_->database()).All()->at(0).recover);
}

TEST_F(StopTest, WhatCannotBeSavedIsSavedLater) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo precious > /workspace/a");
  world_->Close();
  world_->FailStore(true);
  world_->Open();
  ASSERT_TRUE(world_->Wait(world_->registry().Load()));
  ASSERT_TRUE(world_->Wait(world_->registry().Reconcile()));
  auto stopped = Stop("demo");
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_THAT(stopped->save_failure, testing::HasSubstr("the store is away"));
  EXPECT_TRUE(world_->registry().Find("demo")->unsaved);
  Restart();
  EXPECT_TRUE(world_->registry().Find("demo")->unsaved) << "a new daemon knows it too";
  world_->FailStore(false);
  world_->Wait(SaveAgain(world_->registry()));
  EXPECT_FALSE(world_->registry().Find("demo")->unsaved);
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_THAT(Snapshots(), SizeIs(testing::Ge(1U)));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "precious\n");
}

TEST_F(StopTest, OneThatCouldNotBeStoppedIsStoppedBySavingItLater) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  world_->Say("demo", "echo precious > /workspace/a");
  // As a daemon leaves one whose container it could not end.
  const std::string& iid = created->info.iid;
  ASSERT_TRUE(Rows(world_->database()).SetState(iid, State::kFailed, "it does not end"));
  ASSERT_TRUE(Rows(world_->database()).SetUnsaved(iid, true));
  Restart();
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kFailed);
  world_->Wait(SaveAgain(world_->registry()));
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_FALSE(world_->registry().Find("demo")->unsaved);
  EXPECT_THAT(*world_->launcher().cgroups().List(), IsEmpty());
  EXPECT_THAT(Snapshots(), SizeIs(testing::Ge(1U)));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "precious\n");
}

TEST_F(StopTest, StoppingOneThatCouldNotBeStoppedTriesAgain) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  const std::string& iid = created->info.iid;
  ASSERT_TRUE(Rows(world_->database()).SetState(iid, State::kFailed, "it does not end"));
  Restart();
  ASSERT_TRUE(Stop("demo"));
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_TRUE(world_->registry().Find("demo")->unsaved);
  EXPECT_THAT(*world_->launcher().cgroups().List(), IsEmpty());
}

TEST_F(StopTest, NothingIsStoppedThatTheTableDoesNotSay) {
  ASSERT_TRUE(world_->Create("demo"));
  auto refuse = world_->database().Begin();
  ASSERT_TRUE(
      refuse->Execute("CREATE TRIGGER refuse BEFORE UPDATE OF state ON sandboxes BEGIN "
                      "SELECT RAISE(ABORT, 'no room'); END"));
  ASSERT_TRUE(refuse->Commit());
  EXPECT_FALSE(Stop("demo"));
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kRunning);
  EXPECT_EQ(world_->Say("demo", "echo works"), "works\n");
  auto allow = world_->database().Begin();
  ASSERT_TRUE(allow->Execute("DROP TRIGGER refuse"));
  ASSERT_TRUE(allow->Commit());
  EXPECT_TRUE(Stop("demo"));
}

TEST_F(StopTest, ManyAreSavedLaterAndOneThatCannotStartKeepsNobodyWaiting) {
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(fmt::format("demo{}", i));
    ASSERT_TRUE(world_->Create(ids.back()));
    world_->Say(ids.back(), "echo work > /workspace/a");
    ASSERT_TRUE(Stop(ids.back()));
    std::string iid = world_->registry().Find(ids.back())->iid;
    ASSERT_TRUE(Rows(world_->database()).SetUnsaved(iid, true));
  }
  {
    auto transaction = world_->database().Begin();
    ASSERT_TRUE(transaction->Execute("UPDATE sandboxes SET image = 'gone' WHERE id = 'demo0'"));
    ASSERT_TRUE(transaction->Commit());
  }
  Restart();
  world_->Wait(SaveAgain(world_->registry()));
  EXPECT_TRUE(world_->registry().Find("demo0")->unsaved);
  for (int i = 1; i < 6; ++i) {
    EXPECT_FALSE(world_->registry().Find(ids[i])->unsaved) << ids[i];
    EXPECT_EQ(world_->registry().Find(ids[i])->state, State::kStopped) << ids[i];
  }
}

TEST_F(StopTest, AStoreThatIsAwayDoesNotMakeASandboxLookEmpty) {
  world_->Close();
  world_->FailStore(true);
  world_->Open();
  auto created = world_->Create("demo");
  ASSERT_FALSE(created);
  EXPECT_THAT(created.error().message, testing::HasSubstr("onStart"));
  CreateOptions options;
  options.snapshots = snapshot::AutoPolicy{.on_start = false};
  EXPECT_TRUE(world_->Wait(world_->registry().Create("demo", options)));
}

TEST_F(StopTest, IntervalsSaveWhatHasChangedAndNothingElse) {
  world_->Close();
  world_->mutable_options().snapshots = {.interval = std::chrono::seconds(1),
                                         .paths = {"/workspace"}};
  world_->Open();
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo one > /workspace/a");
  world_->registry().StartAutomatic();
  ASSERT_TRUE(Eventually([this] { return Snapshots().size() == 1; }));
  std::this_thread::sleep_for(std::chrono::seconds(5));
  ASSERT_THAT(Snapshots(), SizeIs(1));
  world_->Say("demo", "echo two > /workspace/a");
  ASSERT_TRUE(Eventually([this] { return Snapshots().size() == 2; }));
  EXPECT_EQ(Snapshots()[1].decoded_tags().trigger, repository::Trigger::kInterval);
  world_->Wait(End(world_->registry()));
}

}  // namespace
}  // namespace atl::sandbox
