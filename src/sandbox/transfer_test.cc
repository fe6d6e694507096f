// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores of real sandboxes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "sandbox/transfer_fixture_test.h"

namespace atl::sandbox {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

TEST_F(TransferTest, ASnapshotBringsADirectoryBack) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo",
              "cd /workspace; echo one > a; mkdir -p d/empty; ln -s a link; ln a hard; "
              "head -c 3000000 /dev/urandom > big 2>/dev/null || cat /bin/sh > big");
  SnapshotRequest request{.dir = "/workspace/", .name = "first", .labels = {"keep"}};
  auto snapshot = world_->Wait(world_->registry().Snapshot("demo", request));
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  EXPECT_THAT(IdOf(snapshot), SizeIs(64));
  EXPECT_GE(snapshot->files, 4U);
  EXPECT_GT(snapshot->bytes_added, 0U);
  std::string before = world_->Say("demo", "cd /workspace; ls -lR .");
  world_->Say("demo", "cd /workspace; rm -rf a d link big; echo new > later");
  auto restored = Put("demo", IdOf(snapshot));
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(restored->result.dir, "/workspace");
  EXPECT_EQ(world_->Say("demo", "cd /workspace; ls -lR ."), before);
  EXPECT_EQ(world_->Say("demo", "cat /workspace/link"), "one\n");
  ASSERT_THAT(Snapshots(), SizeIs(1));
  repository::Tags tags = Snapshots()[0].decoded_tags();
  EXPECT_EQ(tags.name, "first");
  EXPECT_EQ(tags.sandbox, "demo");
  EXPECT_EQ(tags.dir, "/workspace");
  EXPECT_THAT(tags.labels, testing::ElementsAre("keep"));
  EXPECT_TRUE(tags.expires_at.has_value()) << "three days unless it is told";

  // Another sandbox has no part in it, unless whoever asks may see both.
  ASSERT_TRUE(world_->Create("other"));
  EXPECT_EQ(Put("other", IdOf(snapshot)).error().reason, "BACKUP_NOT_FOUND");
  RestoreRequest copy{.snapshot_id = IdOf(snapshot), .dir = "/copy/here", .of_any_sandbox = true};
  auto copied = world_->Wait(world_->registry().Restore("other", copy));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(world_->Say("other", "cat /copy/here/a"), "one\n");
  // The same id, made anew, has its old snapshots.
  ASSERT_TRUE(Delete("demo"));
  ASSERT_TRUE(world_->Create("demo"));
  EXPECT_EQ(world_->Say("demo", "ls /workspace"), "") << "what was deleted stays so";
  ASSERT_TRUE(Put("demo", IdOf(snapshot).substr(0, 12)));
  EXPECT_EQ(world_->Say("demo", "cat /workspace/a"), "one\n");
}

TEST_F(TransferTest, MergingKeepsWhatTheSnapshotDoesNotHave) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; echo one > a; echo two > b");
  auto snapshot = Take("demo");
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  world_->Say("demo", "cd /workspace; echo changed > a; rm b; echo mine > c");
  RestoreRequest request{.snapshot_id = IdOf(snapshot), .merge = true};
  ASSERT_TRUE(world_->Wait(world_->registry().Restore("demo", request)));
  EXPECT_EQ(world_->Say("demo", "cd /workspace; cat a b c"), "one\ntwo\nmine\n");
}

// Nobody waits for it: that is no reason to leave the sandbox in the middle of it.
TEST_F(TransferTest, ARestoreThatNobodyWaitsForEndsAllTheSame) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; for i in 1 2 3 4 5 6 7 8 9; do echo $i > $i; done");
  auto snapshot = Take("demo");
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  std::string id = IdOf(snapshot);
  for (int limit_ms : {0, 1, 2, 5, 10, 20, 40}) {
    world_->Say("demo", "rm /workspace/1");
    auto impatient = [](Registry& registry, std::string snapshot_id,
                        std::chrono::milliseconds limit) -> async::Task<bool> {
      auto restore = [](Registry& of, std::string what) -> async::Task<> {
        RestoreRequest request{.snapshot_id = std::move(what)};
        (void)co_await of.Restore("demo", std::move(request));
      };
      bool in_time = co_await async::WithTimeout(limit, restore(registry, std::move(snapshot_id)));
      co_return in_time;
    };
    world_->Wait(impatient(world_->registry(), id, std::chrono::milliseconds(limit_ms)));
    ASSERT_TRUE(Put("demo", id)) << limit_ms;
    auto row = world_->registry().Find("demo");
    ASSERT_TRUE(row);
    EXPECT_EQ(row->state, State::kRunning) << limit_ms;
    EXPECT_EQ(world_->Say("demo", "cat /workspace/1 /workspace/9"), "1\n9\n");
  }
}

TEST_F(TransferTest, WhatCannotBeSnapshotOrRestored) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "echo x > /workspace/file");
  for (std::string dir : {"", "workspace", "/", "/workspace/../etc", "/nowhere", "/workspace/file",
                          "/proc", "/sys"}) {
    EXPECT_FALSE(Take("demo", dir)) << dir;
  }
  EXPECT_EQ(Take("demo", "/nowhere").error().reason, "DIRECTORY_NOT_FOUND");
  for (std::string label : {"a,b", "sandbox=other", "pinned", "", "line\nbreak"}) {
    SnapshotRequest request{.labels = {label}};
    auto taken = world_->Wait(world_->registry().Snapshot("demo", request));
    ASSERT_FALSE(taken) << label;
    EXPECT_EQ(taken.error().reason, "INVALID_BACKUP_CONFIG");
  }
  EXPECT_EQ(Put("demo", "zz").error().reason, "BACKUP_NOT_FOUND");
  EXPECT_EQ(Put("demo", std::string(64, 'a')).error().reason, "BACKUP_NOT_FOUND");
  EXPECT_THAT(Snapshots(), IsEmpty());
}

TEST_F(TransferTest, ADamagedSnapshotLeavesTheDirectoryAsItWas) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cat /bin/sh /bin/ls /bin/cat > /workspace/old");
  auto snapshot = Take("demo");
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  world_->Say("demo", "rm /workspace/old; echo now > /workspace/new");
  int damaged = 0;
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(world_->store_dir() + "/data")) {
    if (!file.is_regular_file() || file.file_size() < 4096) continue;
    std::filesystem::permissions(file.path(), std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
    sys::Fd fd = *sys::Open(file.path(), O_RDWR);
    ASSERT_EQ(::pwrite(fd.get(), "damage", 6, 1000), 6);
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  auto restored = Put("demo", IdOf(snapshot));
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().reason, "REPOSITORY_CORRUPT") << restored.error().message;
  EXPECT_EQ(world_->Say("demo", "ls -A /workspace"), "new\n");
}

TEST_F(TransferTest, ASnapshotOfASandboxThatStandsStillSaysSoAndLetsItGoOn) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; for i in 1 2 3 4 5 6 7 8; do cat /bin/* > f$i; done");
  SnapshotRequest request{.freeze = true};
  auto taken = world_->Wait(world_->registry().Snapshot("demo", request));
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_TRUE(taken->record.decoded_tags().frozen);
  EXPECT_GT(taken->freeze_ms, 0);
  EXPECT_LE(taken->freeze_ms, taken->duration_ms);
  EXPECT_EQ(world_->Say("demo", "echo alive"), "alive\n");
  auto busy = Take("demo");
  ASSERT_TRUE(busy);
  EXPECT_FALSE(busy->record.decoded_tags().frozen);
}

TEST_F(TransferTest, ASnapshotUnderDeletionFailsOrIsWhole) {
  ASSERT_TRUE(world_->Create("demo"));
  world_->Say("demo", "cd /workspace; for i in 1 2 3 4 5 6 7 8; do cat /bin/* > f$i; done");
  auto snapshot = world_->Start(world_->registry().Snapshot("demo", SnapshotRequest()));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(Delete("demo"));
  auto taken = snapshot.get();
  EXPECT_THAT(Snapshots(), SizeIs(taken ? 1 : 0));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace atl::sandbox
