// SPDX-License-Identifier: Apache-2.0
#include "snapshot/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <future>
#include <random>
#include <thread>

#include "crypto/bytes.h"
#include "crypto/sha256.h"
#include "snapshot/format.h"
#include "sys/fd.h"

namespace atl::snapshot {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// Bytes that do not compress.
std::string Noise(size_t size, unsigned seed = 1) {
  std::mt19937 generator(seed);
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>(generator());
  return data;
}

std::vector<std::string> FilesIn(const std::string& path, std::string_view suffix = {}) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(path.c_str());
  while (const dirent* entry = ::readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != ".." && name.ends_with(suffix)) names.push_back(std::move(name));
  }
  ::closedir(dir);
  return names;
}

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "atoll-store-XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    dir_ = root_ + "/snapshots";
    Open();
  }
  void TearDown() override {
    store_.reset();
    EXPECT_TRUE(sys::RemoveTree(root_));
  }

  // Runs `task` on a shard and waits for it.
  void RunHere(async::Task<> task) {
    std::promise<void> ended;
    async::Spawn(runtime_.shard(1), Ended(std::move(task), ended), "a test");
    ended.get_future().wait();
  }
  static async::Task<> Ended(async::Task<> task, std::promise<void>& ended) {
    co_await std::move(task);
    ended.set_value();
  }

  void Open() {
    auto store = Store::OpenDirectory(runtime_, dir_);
    ASSERT_TRUE(store) << store.error().message;
    store_ = *std::move(store);
  }

  static async::Task<> SaveInto(Store& store, std::string_view tar, Meta meta,
                                Result<Meta>& result) {
    auto writer = co_await store.Create();
    if (!writer) {
      result = Unexpected(writer.error());
      co_return;
    }
    for (size_t at = 0; at < tar.size(); at += 70'001) {
      Result<void> written = co_await (*writer)->Write(tar.substr(at, 70'001));
      if (!written) {
        result = Unexpected(written.error());
        co_return;
      }
    }
    result = co_await (*writer)->Commit(std::move(meta));
  }

  Result<Meta> Save(std::string_view tar, std::string sandbox = "demo", std::string name = "") {
    Result<Meta> result;
    Meta meta{.sandbox = std::move(sandbox), .dir = "/workspace", .name = std::move(name)};
    RunHere(SaveInto(*store_, tar, std::move(meta), result));
    return result;
  }

  static async::Task<> LoadInto(Store& store, std::string id, Result<std::string>& result) {
    auto reader = co_await store.Open(std::move(id));
    if (!reader) {
      result = Unexpected(reader.error());
      co_return;
    }
    result.emplace();
    while (true) {
      Result<std::string_view> piece = co_await (*reader)->Next();
      if (!piece) {
        result = Unexpected(piece.error());
        co_return;
      }
      if (piece->empty()) co_return;
      result->append(*piece);
    }
  }

  Result<std::string> Load(const std::string& id) {
    Result<std::string> result;
    RunHere(LoadInto(*store_, id, result));
    return result;
  }

  static async::Task<> ListInto(Store& store, std::string sandbox, std::vector<Meta>& metas) {
    auto listed = co_await store.List(std::move(sandbox));
    if (listed) metas = *std::move(listed);
  }
  std::vector<Meta> List(const std::string& sandbox) {
    std::vector<Meta> metas;
    RunHere(ListInto(*store_, sandbox, metas));
    return metas;
  }

  std::string OnlyObject() const {
    auto objects = FilesIn(dir_, kObjectSuffix);
    EXPECT_THAT(objects, SizeIs(1));
    return dir_ + "/" + objects.at(0);
  }

  async::Runtime runtime_{2, 2};
  std::string root_;
  std::string dir_;
  std::unique_ptr<Store> store_;
};

TEST(Format, ARecordComesBackFromItsText) {
  Record record{.meta = {.sandbox = "demo",
                         .dir = "/workspace/\"quoted\" ünï",
                         .name = "before\nlunch",
                         .created_at_ms = 1'700'000'000'123,
                         .bytes = UINT64_MAX,
                         .stored = 1,
                         .files = 2},
                .object = NewObjectName(),
                .tar_sha256 = crypto::Sha256Hex("")};
  auto text = EncodeRecord(record);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(IsSnapshotId(record.meta.snapshot_id));
  auto back = DecodeRecord(record.meta.snapshot_id, *text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, record);
}

TEST(Format, AChangedTextIsRefused) {
  Record record{.object = NewObjectName(), .tar_sha256 = crypto::Sha256Hex("")};
  std::string text = *EncodeRecord(record);
  text[text.find("dir")] = 'D';
  EXPECT_FALSE(DecodeRecord(record.meta.snapshot_id, text));
}

TEST(Format, ANameThatCouldNotBeReadBackIsRefused) {
  Record record{
      .meta = {.name = "\xff\xfe"}, .object = NewObjectName(), .tar_sha256 = crypto::Sha256Hex("")};
  auto text = EncodeRecord(record);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::kInvalidArgument);
}

TEST_F(StoreTest, AStreamComesBackAsItWas) {
  for (size_t size : {0UL, 1UL, 1UL << 20U, (1UL << 20U) + 1, 20UL << 20U}) {
    std::string tar = Noise(size / 2) + std::string(size - size / 2, 'x');
    auto meta = Save(tar);
    ASSERT_TRUE(meta) << meta.error().message;
    EXPECT_TRUE(IsSnapshotId(meta->snapshot_id));
    EXPECT_EQ(meta->bytes, size);
    EXPECT_GT(meta->created_at_ms, 0);
    auto back = Load(meta->snapshot_id);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_TRUE(*back == tar) << size;
  }
}

TEST_F(StoreTest, SnapshotsOutliveTheStoreAndAreListedNewestFirst) {
  auto first = Save("one", "demo", "first");
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto second = Save("two", "demo", "second");
  Save("three", "other");
  Open();
  auto metas = List("demo");
  ASSERT_THAT(metas, SizeIs(2));
  EXPECT_EQ(metas[0].name, "second");
  EXPECT_EQ(metas[1].name, "first");
  EXPECT_EQ(metas[0].snapshot_id, second->snapshot_id);
  EXPECT_EQ(metas[0].dir, "/workspace");
  EXPECT_THAT(List("nobody"), IsEmpty());
  EXPECT_EQ(*Load(first->snapshot_id), "one");
}

TEST_F(StoreTest, TheSameContentTwiceIsTwoSnapshots) {
  EXPECT_NE(Save("same")->snapshot_id, Save("same")->snapshot_id);
}

TEST_F(StoreTest, IdsAreChecked) {
  EXPECT_EQ(Load("../../etc/passwd").error().code, Code::kInvalidArgument);
  EXPECT_EQ(Load("").error().code, Code::kInvalidArgument);
  EXPECT_EQ(Load(std::string(64, 'G')).error().code, Code::kInvalidArgument);
  auto missing = Load(std::string(64, 'a'));
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(missing.error().reason, "BACKUP_NOT_FOUND");
}

TEST_F(StoreTest, AWriterThatIsGivenUpLeavesNothing) {
  auto half = [](Store& store) -> async::Task<> {
    auto writer = co_await store.Create();
    std::string noise = Noise(3U << 20U);
    co_await (*writer)->Write(noise);
  };
  RunHere(half(*store_));
  runtime_.blocking().Join();
  EXPECT_THAT(FilesIn(dir_), IsEmpty());
}

TEST_F(StoreTest, ACutObjectIsNeverTakenForTheWhole) {
  auto meta = Save(Noise(3U << 20U));
  std::string object = OnlyObject();
  ASSERT_EQ(::truncate(object.c_str(), static_cast<off_t>(meta->stored - 1)), 0);
  EXPECT_FALSE(Load(meta->snapshot_id));
}

TEST_F(StoreTest, ADamagedObjectFailsWhereverTheDamageIs) {
  std::string tar = Noise(3U << 20U);
  auto meta = Save(tar);
  std::string object = OnlyObject();
  for (uint64_t at : {0UL, 20UL, meta->stored / 2, meta->stored - 1}) {
    sys::Fd fd = *sys::Open(object, O_RDWR);
    unsigned char byte = 0;
    auto offset = static_cast<off_t>(at);
    ASSERT_EQ(::pread(fd.get(), &byte, 1, offset), 1);
    unsigned char changed = byte ^ 0x40U;
    ASSERT_EQ(::pwrite(fd.get(), &changed, 1, offset), 1);
    auto back = Load(meta->snapshot_id);
    EXPECT_FALSE(back) << at;
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, offset), 1);
  }
  EXPECT_TRUE(*Load(meta->snapshot_id) == tar);
}

TEST_F(StoreTest, AnotherSnapshotsObjectIsNotAccepted) {
  auto meta = Save(std::string(100'000, 'a'));
  std::string victim = OnlyObject();
  std::string kept = root_ + "/kept";
  ASSERT_EQ(::rename(victim.c_str(), kept.c_str()), 0);
  Save(std::string(100'000, 'b'));
  ASSERT_EQ(::rename(OnlyObject().c_str(), victim.c_str()), 0);
  EXPECT_FALSE(Load(meta->snapshot_id));
}

TEST_F(StoreTest, DamagedMetadataIsNotFollowed) {
  auto meta = Save("content");
  std::string path = dir_ + "/" + MetaFile(meta->snapshot_id);
  std::string text = *sys::ReadFile(path);
  text.replace(text.find("/workspace"), 10, "/etc/passw");
  ASSERT_TRUE(sys::WriteFile(path, text));
  EXPECT_FALSE(Load(meta->snapshot_id));
  EXPECT_THAT(List("demo"), IsEmpty());
}

TEST_F(StoreTest, OpeningRemovesObjectsWithoutMetadata) {
  auto meta = Save("content");
  std::string orphan = dir_ + "/" + ObjectFile(NewObjectName());
  ASSERT_TRUE(sys::WriteFile(orphan, "x"));
  ASSERT_TRUE(sys::WriteFile(dir_ + "/.upload-1-1", "x"));
  Open();
  EXPECT_THAT(FilesIn(dir_), SizeIs(2));
  EXPECT_EQ(*Load(meta->snapshot_id), "content");
}

TEST_F(StoreTest, AFullDiskIsAnErrorThatLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts a small tmpfs: needs root";
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "mounting is not possible here";
  }
  Open();
  ASSERT_TRUE(Save("small"));
  auto too_big = Save(Noise(8U << 20U));
  ASSERT_FALSE(too_big);
  EXPECT_EQ(too_big.error().code, Code::kResourceExhausted);
  EXPECT_EQ(too_big.error().reason, "NO_SPACE");
  runtime_.blocking().Join();
  EXPECT_THAT(FilesIn(dir_), SizeIs(2)) << "the small snapshot's two files";
  store_.reset();
  ASSERT_EQ(::umount2(dir_.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace atl::snapshot
