// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores of real sandboxes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "sandbox/registry.h"
#include "sandbox/test_world.h"

namespace atl::sandbox {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

using TransferTest = RegistryTest;

TEST_F(TransferTest, ASnapshotBringsADirectoryBack) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo",
              "cd /workspace; echo one > a; mkdir -p d/empty; ln -s a link; ln a hard; "
              "head -c 3000000 /dev/urandom > big 2>/dev/null || cat /bin/sh > big");
  auto snapshot = world_->Wait(world_->registry().Snapshot("demo", "/workspace/", "first"));
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  EXPECT_THAT(snapshot->snapshot_id, SizeIs(64));
  EXPECT_EQ(snapshot->dir, "/workspace");
  EXPECT_GT(snapshot->files, 4U);
  std::string before = world_->Say("demo", "cd /workspace; ls -lR .");
  world_->Say("demo", "cd /workspace; rm -rf a d link big; echo new > later");
  auto restored = world_->Wait(world_->registry().Restore("demo", snapshot->snapshot_id));
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(restored->dir, "/workspace");
  EXPECT_EQ(world_->Say("demo", "cd /workspace; ls -lR ."), before);
  EXPECT_EQ(world_->Say("demo", "cat /workspace/link"), "one\n");
  auto metas = world_->Wait(world_->registry().Snapshots("demo"));
  ASSERT_THAT(*metas, SizeIs(1));
  EXPECT_EQ((*metas)[0].name, "first");

  // Another sandbox has no part in it; the same id, made anew, has.
  ASSERT_TRUE(world_->Create("other"));
  auto foreign = world_->Wait(world_->registry().Restore("other", snapshot->snapshot_id));
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().reason, "BACKUP_NOT_FOUND");
  ASSERT_TRUE(Delete("demo"));
  ASSERT_TRUE(world_->Create("demo"));
  ASSERT_TRUE(world_->Wait(world_->registry().Restore("demo", snapshot->snapshot_id)));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "one\n");
}

TEST_F(TransferTest, WhatCannotBeSnapshotOrRestored) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo x > /workspace/file");
  for (std::string dir : {"", "workspace", "/", "/workspace/../etc", "/nowhere", "/workspace/file",
                          "/proc", "/sys"}) {
    auto snapshot = world_->Wait(world_->registry().Snapshot("demo", dir, ""));
    EXPECT_FALSE(snapshot) << dir;
  }
  EXPECT_EQ(world_->Wait(world_->registry().Restore("demo", "zz")).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(world_->Wait(world_->registry().Restore("demo", std::string(64, 'a'))).error().reason,
            "BACKUP_NOT_FOUND");
  EXPECT_THAT(*world_->Wait(world_->registry().Snapshots("demo")), IsEmpty());
}

TEST_F(TransferTest, ADamagedSnapshotLeavesTheDirectoryAsItWas) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cat /bin/sh /bin/ls /bin/cat > /workspace/old");
  auto snapshot = world_->Wait(world_->registry().Snapshot("demo", "/workspace", ""));
  ASSERT_TRUE(snapshot);
  world_->Say("demo", "rm /workspace/old; echo now > /workspace/new");
  for (const auto& file :
       std::filesystem::directory_iterator(world_->options().state_dir + "/snapshots")) {
    if (file.path().extension() != ".zst") continue;
    sys::Fd fd = *sys::Open(file.path(), O_RDWR);
    ASSERT_EQ(::pwrite(fd.get(), "damage", 6, static_cast<off_t>(snapshot->stored - 100)), 6);
  }
  EXPECT_FALSE(world_->Wait(world_->registry().Restore("demo", snapshot->snapshot_id)));
  EXPECT_EQ(world_->Say("demo", "ls /workspace"), "new\n");
}

async::Task<> RestoreQuietly(Registry& registry, std::string snapshot_id) {
  co_await registry.Restore("demo", std::move(snapshot_id));
}

async::Task<bool> RestoreWithin(Registry& registry, std::string snapshot_id,
                                std::chrono::milliseconds limit) {
  bool ended = co_await async::WithTimeout(limit, RestoreQuietly(registry, std::move(snapshot_id)));
  co_return ended;
}

TEST_F(TransferTest, ARestoreThatIsCancelledLeavesTheOldOrTheNewAndNothingBetween) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; for i in 1 2 3 4 5 6 7 8; do cat /bin/* > new$i; done");
  auto snapshot = world_->Wait(world_->registry().Snapshot("demo", "/workspace", ""));
  ASSERT_TRUE(snapshot);
  int cancelled = 0;
  for (int ms : {1, 3, 10, 20, 40}) {
    world_->Say("demo", "cd /workspace; rm -rf *; echo old > old");
    bool ended = world_->Wait(
        RestoreWithin(world_->registry(), snapshot->snapshot_id, std::chrono::milliseconds(ms)));
    cancelled += ended ? 0 : 1;
    EXPECT_EQ(world_->registry().Find("demo")->state, State::kRunning);
    std::string files = world_->Say("demo", "cd /workspace; echo *");
    EXPECT_THAT(files, testing::AnyOf("old\n", "new1 new2 new3 new4 new5 new6 new7 new8\n"));
  }
  EXPECT_GT(cancelled, 0);
  auto whole = world_->Wait(world_->registry().Restore("demo", snapshot->snapshot_id));
  EXPECT_TRUE(whole) << "the lock is free again";
}

TEST_F(TransferTest, ASnapshotUnderDeletionFailsAndLeavesNothing) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; for i in 1 2 3 4 5 6 7 8; do cat /bin/* > f$i; done");
  auto snapshot = world_->Start(world_->registry().Snapshot("demo", "/workspace", ""));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(Delete("demo"));
  auto taken = snapshot.get();
  auto metas = world_->Wait(world_->registry().Snapshots("demo"));
  EXPECT_THAT(*metas, SizeIs(taken ? 1 : 0));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace atl::sandbox
