// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/restore_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::HasSubstr;

TEST_F(RestoreTest, AnEmptyDirectoryBecomesTheSnapshot) {
  MakeTree();
  auto before = Manifest(work_);
  auto snapshot = Take();
  uint64_t inode = Inode(work_);
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry);
  auto result = Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
  EXPECT_EQ(Inode(work_), inode) << "shells that are in the directory stay in it";
  EXPECT_EQ(result.files, 40);
  EXPECT_EQ(result.files_written, 40);
  EXPECT_FALSE(result.piecewise);
  EXPECT_EQ(result.dir, work_.string());
}

TEST_F(RestoreTest, AMissingDirectoryIsMade) {
  MakeTree();
  auto before = Manifest(work_);
  auto snapshot = Take();
  fs::remove_all(work_);
  Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
}

TEST_F(RestoreTest, WhatHasNotChangedStaysInPlace) {
  MakeTree();
  auto before = Manifest(work_);
  auto snapshot = Take();
  uint64_t kept = Inode(work_ / "big");
  uint64_t directory = Inode(work_ / "src");
  Write(work_ / "src" / "file3", "changed");
  Write(work_ / "new", "new");
  fs::create_directories(work_ / "other" / "deep");
  Write(work_ / "other" / "deep" / "file", "x");
  fs::remove(work_ / "src" / "file4");
  chmod((work_ / "src" / "file5").c_str(), 0600);
  auto result = Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
  EXPECT_EQ(Inode(work_ / "big"), kept);
  EXPECT_EQ(Inode(work_ / "src"), directory);
  EXPECT_EQ(result.files_written, 2);
  EXPECT_EQ(result.removed, 4);
  EXPECT_EQ(result.files_kept, result.files - 2);
}

TEST_F(RestoreTest, NothingIsWrittenWhenNothingChanged) {
  MakeTree();
  auto before = Manifest(work_);
  auto snapshot = Take();
  bool frozen = false;
  auto result = Bring(snapshot.record, {.freeze = [&](bool) -> Result<void> {
                        frozen = true;
                        return {};
                      }});
  EXPECT_EQ(Manifest(work_), before);
  EXPECT_EQ(result.files_written, 0);
  EXPECT_FALSE(frozen);
}

TEST_F(RestoreTest, AfterARestoreFilesAreComparedByContent) {
  MakeTree();
  auto snapshot = Take();
  auto before = Manifest(work_);
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry);
  Bring(snapshot.record);
  uint64_t kept = Inode(work_ / "big");
  // The same size and time, other content.
  fs::path liar = work_ / "src" / "file6";
  auto time = fs::last_write_time(liar);
  Write(liar, Noise(100 + 200 * 6, 1000));
  fs::last_write_time(liar, time);
  auto result = Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
  EXPECT_EQ(Inode(work_ / "big"), kept);
  EXPECT_EQ(result.files_written, 1);
}

TEST_F(RestoreTest, MergingRemovesNothing) {
  MakeTree();
  auto snapshot = Take();
  Write(work_ / "src" / "mine", "mine");
  Write(work_ / "run", "changed");
  fs::remove_all(work_ / "src" / "deep");
  auto result = Bring(snapshot.record, {.mode = RestoreOptions::Mode::kMerge});
  EXPECT_EQ(agent::Slurp(work_ / "src" / "mine"), "mine");
  EXPECT_EQ(agent::Slurp(work_ / "run"), "#!/bin/sh\n");
  EXPECT_EQ(agent::Slurp(work_ / "src" / "deep" / "er" / "x"), "deep");
  EXPECT_EQ(result.removed, 0);
}

TEST_F(RestoreTest, TypesChange) {
  MakeTree();
  auto before = Manifest(work_);
  auto snapshot = Take();
  fs::remove_all(work_ / "src");
  Write(work_ / "src", "a file now");
  fs::remove(work_ / "big");
  fs::create_directories(work_ / "big" / "below");
  Write(work_ / "big" / "below" / "x", "x");
  fs::remove(work_ / "outside");
  EXPECT_EQ(mkfifo((work_ / "outside").c_str(), 0600), 0);
  fs::remove(work_ / "fifo");
  fs::create_symlink("/", work_ / "fifo");
  fs::remove(work_ / "to-dir");
  fs::create_symlink("elsewhere", work_ / "to-dir");
  Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
}

TEST_F(RestoreTest, NamesOfOneFileAreOneFileAgain) {
  fs::create_directories(work_ / "a");
  fs::create_directories(work_ / "b");
  Write(work_ / "a" / "one", Noise(3 << 20, 5));
  fs::create_hard_link(work_ / "a" / "one", work_ / "a" / "two");
  fs::create_hard_link(work_ / "a" / "one", work_ / "b" / "three");
  Write(work_ / "single", "single");
  auto before = Manifest(work_);
  auto snapshot = Take();
  auto untouched = Bring(snapshot.record);
  EXPECT_EQ(untouched.files_written, 0);
  // One is parted from the others.
  fs::remove(work_ / "a" / "two");
  fs::copy_file(work_ / "a" / "one", work_ / "a" / "two");
  Bring(snapshot.record);
  EXPECT_EQ(Inode(work_ / "a" / "one"), Inode(work_ / "a" / "two"));
  EXPECT_EQ(Inode(work_ / "a" / "one"), Inode(work_ / "b" / "three"));
  EXPECT_EQ(Manifest(work_), before);
  // A whole directory is gone.
  fs::remove_all(work_ / "b");
  Bring(snapshot.record);
  EXPECT_EQ(Inode(work_ / "a" / "one"), Inode(work_ / "b" / "three"));
  EXPECT_EQ(Manifest(work_), before);
  // Two that were never one.
  fs::create_hard_link(work_ / "single", work_ / "extra");
  Bring(snapshot.record);
  EXPECT_EQ(Manifest(work_), before);
}

TEST_F(RestoreTest, HolesStayHoles) {
  fs::path sparse = work_ / "sparse";
  Write(sparse, "");
  EXPECT_EQ(truncate(sparse.c_str(), 10LL << 30U), 0);
  {
    std::fstream out(sparse, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(5LL << 30U);
    out << "in the middle";
  }
  auto before = Manifest(work_);
  auto snapshot = Take();
  fs::remove(sparse);
  auto begin = std::chrono::steady_clock::now();
  auto result = Bring(snapshot.record);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  EXPECT_EQ(Manifest(work_), before);
  EXPECT_LT(Blocks(sparse), 2U << 20U);
  EXPECT_FALSE(result.piecewise);
  std::ifstream in(sparse, std::ios::binary);
  in.seekg((5LL << 30U) - 1);
  std::string part(15, 'x');
  in.read(part.data(), 15);
  EXPECT_EQ(part, std::string("\0in the middle\0", 15));
}

TEST_F(RestoreTest, KeptPathsAreNotTouched) {
  MakeTree();
  auto snapshot = Take();
  Write(work_ / "src" / "deep" / "er" / "x", "mine");
  Write(work_ / "src" / "file7", "changed");
  fs::create_directories(work_ / "extra" / "keep");
  Write(work_ / "extra" / "keep" / "this", "this");
  Write(work_ / "extra" / "that", "that");
  fs::remove(work_ / "run");
  Bring(snapshot.record,
        {.keep = {work_ / "src" / "deep", work_ / "extra" / "keep", work_ / "run"}});
  EXPECT_EQ(agent::Slurp(work_ / "src" / "deep" / "er" / "x"), "mine");
  EXPECT_EQ(agent::Slurp(work_ / "src" / "file7"), Noise(100 + 200 * 7, 7));
  EXPECT_EQ(agent::Slurp(work_ / "extra" / "keep" / "this"), "this");
  EXPECT_FALSE(fs::exists(work_ / "extra" / "that"));
  EXPECT_FALSE(fs::exists(work_ / "run"));
}

TEST_F(RestoreTest, AnotherDirectoryAndAPart) {
  MakeTree();
  auto snapshot = Take();
  auto before = Manifest(work_ / "src");
  fs::path other = dir_ / "other" / "place";
  auto result = Bring(snapshot.record, {.from_dir = work_ / "src", .to_dir = other});
  EXPECT_EQ(result.dir, other.string());
  auto after = Manifest(other);
  // Its twin is outside.
  before.erase("twin");
  after.erase("twin");
  EXPECT_EQ(after, before);
  EXPECT_EQ(agent::Slurp(other / "twin"), "twins");
  Write(work_ / "src" / "file1", "changed");
  Write(work_ / "run", "stays");
  Bring(snapshot.record, {.from_dir = "src"});
  EXPECT_EQ(agent::Slurp(work_ / "run"), "stays");
  EXPECT_EQ(agent::Slurp(work_ / "src" / "file1"), Noise(300, 1));

  auto missing = TryRestore(snapshot.record, {.from_dir = "/none"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "PATH_NOT_FOUND");
  auto file = TryRestore(snapshot.record, {.from_dir = "run"});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().reason, "NOT_A_DIRECTORY");
}

TEST_F(RestoreTest, WhatResticWroteIsRestored) {
  if (!HasRestic()) GTEST_SKIP() << "restic is not installed";
  MakeTree();
  EXPECT_EQ(mknod((work_ / "device").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  auto before = Manifest(work_);
  ASSERT_EQ(Restic("backup '" + work_.string() + "'"), 0) << ResticLog();
  auto lock = repository_->LockShared();
  ASSERT_TRUE(lock) << lock.error().message;
  auto snapshots = repository_->Snapshots();
  ASSERT_EQ(snapshots.size(), 1);
  auto untouched = Bring(snapshots[0]);
  EXPECT_EQ(untouched.files_written, 0);
  EXPECT_EQ(Manifest(work_), before) << "an equal device stays";
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry);
  auto result = Bring(snapshots[0]);
  EXPECT_EQ(result.special_skipped, 1);
  before.erase("device");
  EXPECT_EQ(Manifest(work_), before);
}

TEST_F(RestoreTest, TheSandboxStandsStillDuringTheCommit) {
  MakeTree();
  auto snapshot = Take();
  Write(work_ / "run", "changed");
  std::vector<bool> calls;
  std::vector<std::string> phases;
  auto result = Bring(
      snapshot.record,
      {.freeze = [&](bool frozen) -> Result<void> {
         calls.push_back(frozen);
         std::string want = frozen ? "changed" : "#!/bin/sh\n";
         EXPECT_EQ(agent::Slurp(work_ / "run"), want);
         return {};
       },
       .on_progress = [&](const Progress& progress) { phases.emplace_back(progress.phase); }});
  EXPECT_EQ(calls, (std::vector<bool>{true, false}));
  EXPECT_GT(result.freeze_ms, 0);
  EXPECT_THAT(phases, testing::IsSupersetOf({"plan", "stage", "commit", "clean"}));
}

}  // namespace
}  // namespace atl::snapshot
