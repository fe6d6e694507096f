// SPDX-License-Identifier: Apache-2.0
// Restores from repositories that are broken or hostile, that are stopped, or that lack room.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "snapshot/restore_fixture_test.h"

namespace atl::snapshot {
namespace {

using repository::BlobType;
using testing::AnyOf;
using testing::HasSubstr;

class RestoreFaultTest : public RestoreTest {
 protected:
  // A snapshot whose root is this tree, as it is.
  repository::SnapshotRecord SaveRaw(const std::string& json) {
    auto lock = repository_->LockShared();
    EXPECT_TRUE(lock);
    auto session = repository_->Begin();
    EXPECT_TRUE(session);
    auto saved = (*session)->Save(BlobType::kTree, json);
    EXPECT_TRUE(saved) << saved.error().message;
    EXPECT_TRUE((*session)->Flush());
    return Record(saved->id);
  }
  repository::SnapshotRecord Record(repository::Id tree) {
    repository::SnapshotRecord record{.tree = tree, .paths = {"/"}, .hostname = "somewhere"};
    EXPECT_TRUE(repository_->SaveSnapshot(record));
    return record;
  }
  static std::string NodeJson(const std::string& name, const std::string& more) {
    return fmt::format(
        R"({{"name":"{}","mode":420,"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z",)"
        R"("ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,{}}})",
        name, more);
  }
  static std::string TreeJson(const std::string& nodes) { return "{\"nodes\":[" + nodes + "]}\n"; }
  RestoreOptions Here() const { return {.from_dir = "/", .to_dir = work_}; }

  // The pack of the largest file's first blob.
  fs::path PackOf(const std::string& content) {
    auto id = repository::Hash(content);
    auto found = repository_->Find({BlobType::kData, id});
    EXPECT_TRUE(found);
    return repository_dir_ / repository::KeyOf(repository::FileType::kData, found->pack);
  }

  // A restore that was given up is undone by the agent, under the eyes of whoever looks.
  bool ComesBackTo(const std::map<std::string, std::string>& before) {
    return agent::Eventually([&] {
      try {
        return Manifest(work_) == before;
      } catch (const fs::filesystem_error&) {
        return false;
      }
    });
  }

  fs::path MountSmall(const std::string& size) {
    fs::path small = dir_ / "small";
    fs::create_directory(small);
    mounted_ = mount("tmpfs", small.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    return small;
  }
  void TearDown() override {
    if (mounted_) umount2((dir_ / "small").c_str(), MNT_DETACH);
    RestoreTest::TearDown();
  }
  bool mounted_ = false;
};

TEST_F(RestoreFaultTest, FlippedBytesLeaveTheOldContentAndNameThePack) {
  MakeTree();
  Write(work_ / "victim", Noise(300'000, 77));
  auto snapshot = Take();
  fs::path pack = PackOf(Noise(300'000, 77));
  auto where = repository_->Find({BlobType::kData, repository::Hash(Noise(300'000, 77))});
  {
    std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(where->blob.offset + 1000);
    file << "flip";
  }
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry);
  Write(work_ / "old", "old");
  auto before = Manifest(work_);
  Open();
  auto result = TryRestore(snapshot.record);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr(where->pack.Hex()));
  EXPECT_THAT(result.error().message, HasSubstr("victim"));
  EXPECT_TRUE(ComesBackTo(before));
}

TEST_F(RestoreFaultTest, AMissingPackLeavesTheOldContent) {
  MakeTree();
  Write(work_ / "victim", Noise(300'000, 77));
  auto snapshot = Take();
  fs::remove(PackOf(Noise(300'000, 77)));
  Write(work_ / "victim", "changed");
  auto before = Manifest(work_);
  auto result = TryRestore(snapshot.record);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, "REPOSITORY_CORRUPT");
  EXPECT_TRUE(ComesBackTo(before));
}

TEST_F(RestoreFaultTest, HostileTreesAreRefused) {
  Write(work_ / "old", "old");
  auto before = Manifest(work_);
  std::string file = R"("type":"file","size":0,"content":null)";
  std::string missing = std::string(64, 'a');
  struct Case {
    std::string nodes;
    std::string reason;
  };
  for (const Case& bad : std::vector<Case>{
           {NodeJson("..", file), "REPOSITORY_CORRUPT"},
           {NodeJson("a/b", file), "REPOSITORY_CORRUPT"},
           {NodeJson("", file), "REPOSITORY_CORRUPT"},
           {NodeJson("a", file) + "," + NodeJson("a", file), "REPOSITORY_CORRUPT"},
           {NodeJson("a", R"("type":"symlink","linktarget":"/tmp")") + "," + NodeJson("a", file),
            "REPOSITORY_CORRUPT"},
           {NodeJson("a", R"("type":"file","size":5,"content":[])"), "REPOSITORY_CORRUPT"},
           {NodeJson("a", R"("type":"file","size":5,"content":[")" + missing + "\"]"),
            "BLOB_MISSING"},
           {NodeJson("a", R"("type":"dir","subtree":")" + missing + "\""), "BLOB_MISSING"}}) {
    auto record = SaveRaw(TreeJson(bad.nodes));
    auto result = TryRestore(record, Here());
    ASSERT_FALSE(result) << bad.nodes;
    EXPECT_EQ(result.error().reason, bad.reason) << bad.nodes << ": " << result.error().message;
  }
  EXPECT_TRUE(ComesBackTo(before));
}

TEST_F(RestoreFaultTest, TreesWithoutEndAreRefused) {
  Write(work_ / "old", "old");
  auto before = Manifest(work_);
  auto lock = repository_->LockShared();
  ASSERT_TRUE(lock);
  auto session = repository_->Begin();
  ASSERT_TRUE(session);
  repository::Id tree;
  for (int depth = 0; depth < 600; ++depth) {
    std::string nodes =
        depth == 0 ? "" : NodeJson("d", R"("type":"dir","subtree":")" + tree.Hex() + "\"");
    auto saved = (*session)->Save(BlobType::kTree, TreeJson(nodes));
    ASSERT_TRUE(saved) << saved.error().message;
    tree = saved->id;
  }
  ASSERT_TRUE((*session)->Flush());
  auto result = TryRestore(Record(tree), Here());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, "REPOSITORY_CORRUPT") << result.error().message;
  EXPECT_TRUE(ComesBackTo(before));
}

TEST_F(RestoreFaultTest, OneThatIsGivenUpLeavesTheOldContent) {
  for (int i = 0; i < 400; ++i) Write(work_ / fmt::format("f{}", i), Noise(30'000, i));
  auto snapshot = Take();
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry);
  Write(work_ / "old", "old");
  auto before = Manifest(work_);
  for (int delay : {0, 3, 10, 30}) {
    std::stop_source stop;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      stop.request_stop();
    });
    auto result = TryRestore(snapshot.record, {.stop = stop.get_token()});
    // The one before gives the directory free a moment after its content is back.
    while (!result && result.error().reason == "RESOURCE_BUSY") {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      result = TryRestore(snapshot.record, {.stop = stop.get_token()});
    }
    if (result) break;
    EXPECT_EQ(result.error().code, Code::kCancelled) << result.error().message;
    EXPECT_TRUE(ComesBackTo(before)) << delay;
  }
}

TEST_F(RestoreFaultTest, WithoutRoomForBothFilesChangePlaceOneAfterTheOther) {
  fs::create_directories(work_ / "dir" / "deep");
  for (int i = 0; i < 20; ++i) {
    Write(work_ / "dir" / fmt::format("f{}", i), Noise(1 << 20, i));
    Write(work_ / "dir" / "deep" / fmt::format("g{}", i), Noise(10'000, 100 + i));
  }
  Write(work_ / "one", Noise(100'000, 500));
  fs::create_hard_link(work_ / "one", work_ / "dir" / "two");
  fs::create_symlink("one", work_ / "link");
  auto before = Manifest(work_);
  auto snapshot = Take();
  fs::path small = MountSmall("32m");
  if (!mounted_) GTEST_SKIP() << "cannot mount a tmpfs";
  // Room for the old content and a little more, not for the new beside it.
  fs::create_directories(small / "dir");
  for (int i = 0; i < 20; ++i) {
    Write(small / "dir" / fmt::format("f{}", i), Noise(1 << 20, 1000 + i));
  }
  Write(small / "rubbish", Noise(6 << 20, 9));
  RestoreResult partial;
  auto result = Bring(snapshot.record, {.to_dir = small, .partial = &partial});
  EXPECT_TRUE(result.piecewise);
  EXPECT_TRUE(partial.piecewise);
  EXPECT_EQ(result.failure_count, 0);
  EXPECT_EQ(Manifest(small), before);
}

TEST_F(RestoreFaultTest, WhatFindsNoRoomAtAllIsReported) {
  Write(work_ / "huge", Noise(20 << 20, 1));
  Write(work_ / "little", "little");
  Write(work_ / "some", Noise(1 << 20, 2));
  auto snapshot = Take();
  fs::path small = MountSmall("8m");
  if (!mounted_) GTEST_SKIP() << "cannot mount a tmpfs";
  Write(small / "huge", "the old one");
  Write(small / "little", "old");
  RestoreResult partial;
  auto result = TryRestore(snapshot.record, {.to_dir = small, .partial = &partial});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, "RESTORE_INCOMPLETE");
  EXPECT_THAT(result.error().message, HasSubstr("huge"));
  EXPECT_EQ(partial.failure_count, 1);
  ASSERT_EQ(partial.failures.size(), 1);
  EXPECT_EQ(partial.failures[0].path, "huge");
  EXPECT_EQ(agent::Slurp(small / "huge"), "the old one");
  EXPECT_EQ(agent::Slurp(small / "little"), "little");
  EXPECT_EQ(agent::Slurp(small / "some"), Noise(1 << 20, 2));
}

}  // namespace
}  // namespace atl::snapshot
