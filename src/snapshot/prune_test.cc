// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <optional>

#include "snapshot/maintenance_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr size_t kMiB = 1U << 20U;

PruneResult MustPrune(repository::Repository& repository, double max_unused = 0) {
  return Must(Prune(repository, {.max_unused = max_unused}));
}
uint64_t BytesIn(const MemoryStore& store, const std::string& prefix) {
  uint64_t bytes = 0;
  for (const std::string& key : store.Keys(prefix)) bytes += store.At(key).size();
  return bytes;
}

class PruneTest : public testing::Test {
 protected:
  SnapshotRecord Save(const Contents& contents) { return SaveSnapshot(*repository_, contents); }
  void Remove(const SnapshotRecord& record) { Must(repository_->RemoveSnapshot(record.file)); }
  void ExpectSound(const SnapshotRecord& record, const Contents& contents) {
    EXPECT_THAT(ErrorsOf(store_), IsEmpty());
    EXPECT_TRUE(ReadContents(*repository_, record) == contents);
    EXPECT_TRUE(ReadContents(*OpenFresh(), record) == contents);
    EXPECT_THAT(store_->Keys("locks/"), IsEmpty());
  }
  std::unique_ptr<repository::Repository> OpenFresh() {
    auto fresh = MustOpen(store_);
    Must(fresh->Refresh());
    return fresh;
  }

  std::shared_ptr<MemoryStore> store_ = repository::NewStore();
  std::unique_ptr<repository::Repository> repository_ = MustOpen(store_);
};

TEST_F(PruneTest, NothingToDoTakesNoLock) {
  const Contents contents = {{"a", "1"}, {"dir/b", "2"}};
  const SnapshotRecord record = Save(contents);
  store_->SetHook([](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation == "put" || operation == "remove") ADD_FAILURE() << operation << " " << key;
    return {};
  });
  const PruneResult result = MustPrune(*repository_);
  EXPECT_EQ(result.packs_removed + result.packs_repacked, 0U);
  store_->SetHook({});
  ExpectSound(record, contents);
}

TEST_F(PruneTest, UnusedPacksGo) {
  const SnapshotRecord gone = Save({{"a", RandomBytes(1, kMiB)}});
  const Contents contents = {{"b", RandomBytes(2, kMiB)}};
  const SnapshotRecord stays = Save(contents);
  Remove(gone);
  const uint64_t before = BytesIn(*store_, "data/");
  const PruneResult result = MustPrune(*repository_);
  EXPECT_EQ(result.packs_removed, 2U);
  EXPECT_EQ(result.packs_repacked, 0U);
  EXPECT_EQ(result.blobs_removed, 2U);
  EXPECT_EQ(result.bytes_freed, before - BytesIn(*store_, "data/"));
  EXPECT_LT(BytesIn(*store_, "data/"), kMiB + 10'000);
  ExpectSound(stays, contents);
}

TEST_F(PruneTest, PartlyUsedPacksAreWrittenAgain) {
  const std::string shared = RandomBytes(1, 2 * kMiB);
  const SnapshotRecord gone = Save({{"a", shared}, {"b", RandomBytes(2, 2 * kMiB)}});
  const Contents contents = {{"a", shared}};
  const SnapshotRecord stays = Save(contents);
  Remove(gone);
  const uint64_t before = BytesIn(*store_, "data/");
  const PruneResult result = MustPrune(*repository_);
  EXPECT_EQ(result.packs_repacked, 1U);
  EXPECT_EQ(result.blobs_removed, 2U);
  EXPECT_EQ(result.bytes_unused, 0U);
  EXPECT_EQ(result.bytes_freed, before - BytesIn(*store_, "data/"));
  EXPECT_LT(BytesIn(*store_, "data/"), 2 * kMiB + 10'000);
  ExpectSound(stays, contents);
}

TEST_F(PruneTest, AFewUnusedBytesAreLeftAlone) {
  const std::string shared = RandomBytes(1, 2 * kMiB);
  const SnapshotRecord gone = Save({{"a", shared}, {"b", RandomBytes(2, 20'000)}});
  const Contents contents = {{"a", shared}};
  const SnapshotRecord stays = Save(contents);
  Remove(gone);
  const PruneResult result = MustPrune(*repository_, 0.05);
  EXPECT_EQ(result.packs_repacked, 0U);
  EXPECT_GE(result.bytes_unused, 20'000U);
  EXPECT_EQ(MustPrune(*repository_, 0.05).packs_removed, 0U);
  ExpectSound(stays, contents);
}

TEST_F(PruneTest, SmallPacksAndIndexesAreMerged) {
  std::vector<std::pair<SnapshotRecord, Contents>> saved;
  for (int i = 0; i < 30; ++i) {
    Contents contents = {{"a", RandomBytes(i, 1000)}, {"dir/b", RandomBytes(100 + i, 1000)}};
    saved.emplace_back(Save(contents), contents);
  }
  MustPrune(*repository_, 0.05);
  EXPECT_LE(store_->Keys("data/").size(), 2U);
  EXPECT_LE(store_->Keys("index/").size(), 2U);
  for (const auto& [record, contents] : saved) ExpectSound(record, contents);
  EXPECT_EQ(MustPrune(*repository_, 0.05).packs_repacked, 0U);
}

TEST_F(PruneTest, DoubledBlobsAreStoredOnce) {
  const Contents contents = {{"a", RandomBytes(1, kMiB)}, {"b", RandomBytes(2, kMiB)}};
  // Two that did not know of each other.
  const auto other = MustOpen(store_);
  auto lock = Must(other->LockShared());
  auto session = Must(other->Begin());
  const SnapshotRecord first = Save(contents);
  SaveContents(*session, {{"a", contents.at("a")}, {"c", "unused"}});
  Must(session->Flush());
  session.reset();
  ASSERT_GT(BytesIn(*store_, "data/"), 3 * kMiB);
  lock.reset();
  MustPrune(*repository_);
  EXPECT_LT(BytesIn(*store_, "data/"), 2 * kMiB + 10'000);
  ExpectSound(first, contents);
}

TEST_F(PruneTest, WhatComesMeanwhileIsKept) {
  const Contents contents = {{"a", RandomBytes(1, kMiB)}, {"dir/b", RandomBytes(2, 1000)}};
  Remove(Save(contents));
  std::optional<SnapshotRecord> late;
  const auto other = MustOpen(store_);
  PruneOptions options{.max_unused = 0};
  options.on_progress = [&](std::string_view phase, double) {
    // Everything is thought to be unused; this snapshot needs it and stores nothing again.
    if (phase == "lock") late = SaveSnapshot(*other, contents);
  };
  Must(Prune(*repository_, options));
  ASSERT_TRUE(late);
  ExpectSound(*late, contents);
}

TEST_F(PruneTest, WhatMovesIsWrittenBesideSnapshots) {
  const std::string shared = RandomBytes(1, kMiB);
  const Contents again = {{"b", RandomBytes(2, kMiB)}};
  Remove(Save({{"a", shared}, {"b", again.at("b")}}));
  const Contents contents = {{"a", shared}};
  const SnapshotRecord record = Save(contents);
  const auto other = MustOpen(store_);
  std::optional<SnapshotRecord> late;
  PruneOptions options{.max_unused = 0};
  options.on_progress = [&](std::string_view phase, double) {
    // It needs what was not moved out of the pack that was to leave.
    if (phase == "repack" && !late) late = SaveSnapshot(*other, again);
  };
  Must(Prune(*repository_, options));
  ASSERT_TRUE(late);
  ExpectSound(record, contents);
  ExpectSound(*late, again);
  MustPrune(*repository_);
  EXPECT_LT(BytesIn(*store_, "data/"), 2 * kMiB + 10'000);
  ExpectSound(record, contents);
  ExpectSound(*late, again);
}

TEST_F(PruneTest, TheExclusiveLockIsNotHeldWhilePacksAreWritten) {
  const std::string shared = RandomBytes(1, kMiB);
  Remove(Save({{"a", shared}, {"b", RandomBytes(2, kMiB)}}));
  const Contents contents = {{"a", shared}};
  const SnapshotRecord record = Save(contents);
  std::atomic<bool> exclusive = false;
  std::atomic<int> written = 0;
  PruneOptions options{.max_unused = 0};
  options.on_progress = [&](std::string_view phase, double) { exclusive = phase == "lock"; };
  store_->SetHook([&](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation != "put" || !key.starts_with("data/")) return {};
    ++written;
    EXPECT_FALSE(exclusive);
    return {};
  });
  EXPECT_EQ(Must(Prune(*repository_, options)).packs_repacked, 1U);
  EXPECT_GT(written, 0);
  store_->SetHook({});
  ExpectSound(record, contents);
}

TEST_F(PruneTest, DoubtRemovesNothing) {
  const Contents contents = {{"a", RandomBytes(1, kMiB)}, {"dir/b", RandomBytes(2, 1000)}};
  Remove(Save({{"gone", RandomBytes(3, kMiB)}}));
  const SnapshotRecord record = Save(contents);
  const auto expect_refused = [&] {
    const auto before = store_->Keys("data/");
    const auto pruned = Prune(*OpenFresh(), {.max_unused = 0});
    ASSERT_FALSE(pruned);
    EXPECT_THAT(pruned.error().message, HasSubstr("nothing is removed"));
    EXPECT_EQ(store_->Keys("data/"), before);
    EXPECT_THAT(store_->Keys("locks/"), IsEmpty());
  };
  // A snapshot that cannot be read, an index, a tree, and data that is missing.
  for (const std::string& prefix : {"snapshots/", "index/"}) {
    const std::string key = store_->Keys(prefix).back();
    store_->Flip(key, 40);
    expect_refused();
    store_->Flip(key, 40);
  }
  const auto tree = *repository_->Find({.type = BlobType::kTree, .id = record.tree});
  store_->Flip(KeyOf(FileType::kData, tree.pack), tree.blob.offset + 20);
  expect_refused();
  store_->Flip(KeyOf(FileType::kData, tree.pack), tree.blob.offset + 20);
  const auto data =
      *repository_->Find({.type = BlobType::kData, .id = repository::Hash(contents.at("a"))});
  const std::string key = KeyOf(FileType::kData, data.pack);
  const std::string bytes = store_->At(key);
  Must(store_->Remove(key));
  expect_refused();
  store_->Set(key, bytes);
  EXPECT_EQ(MustPrune(*repository_).packs_removed, 2U);
  ExpectSound(record, contents);
}

TEST_F(PruneTest, DamagedBlobsAreNotMoved) {
  const std::string shared = RandomBytes(1, kMiB);
  Remove(Save({{"a", shared}, {"b", RandomBytes(2, kMiB)}}));
  Save({{"a", shared}});
  const auto data = *repository_->Find({.type = BlobType::kData, .id = repository::Hash(shared)});
  store_->Flip(KeyOf(FileType::kData, data.pack), data.blob.offset + 20);
  const auto pruned = Prune(*repository_, {.max_unused = 0});
  ASSERT_FALSE(pruned);
  EXPECT_THAT(pruned.error().message, HasSubstr(data.pack.Hex()));
  EXPECT_THAT(store_->Keys("data/"), Contains(KeyOf(FileType::kData, data.pack)));
}

TEST_F(PruneTest, RubbishGoes) {
  const Contents contents = {{"a", "1"}};
  const SnapshotRecord record = Save(contents);
  const std::string old_pack = KeyOf(FileType::kData, repository::Hash("old"));
  const std::string new_pack = KeyOf(FileType::kData, repository::Hash("new"));
  const std::string temporary = old_pack + "-tmp-123456";
  const std::string archive = repository::ArchiveKey(record.id());
  const std::string old_archive = repository::ArchiveKey(repository::Hash("gone"));
  for (const auto& key : {old_pack, new_pack, temporary, archive, old_archive}) {
    store_->Set(key, "rubbish");
  }
  const int64_t before = (repository::Now().seconds - (25L * 3600)) * 1000;
  store_->SetModified(old_pack, before);
  store_->SetModified(temporary, before);
  const PruneResult result = MustPrune(*repository_);
  EXPECT_EQ(result.packs_removed, 1U);
  EXPECT_EQ(result.bytes_freed, 7U);
  const auto keys = store_->Keys();
  for (const auto& key : {old_pack, temporary, old_archive}) EXPECT_THAT(keys, Not(Contains(key)));
  for (const auto& key : {new_pack, archive}) EXPECT_THAT(keys, Contains(key));
  ExpectSound(record, contents);
}

// The process ends before each of its requests that change something, whatever comes first.
TEST_F(PruneTest, KilledAnywhereItIsSoundAndGoesOn) {
  const std::string shared = RandomBytes(1, kMiB);
  const Contents contents = {{"a", shared}, {"dir/c", RandomBytes(3, 1000)}};
  Remove(Save({{"a", shared}, {"b", RandomBytes(2, kMiB)}}));
  Remove(Save({{"x", RandomBytes(4, kMiB)}}));
  const SnapshotRecord record = Save(contents);
  std::map<std::string, std::string> begin;
  for (const std::string& key : store_->Keys()) begin[key] = store_->At(key);
  bool finished = false;
  int at = 0;
  for (; !finished; ++at) {
    store_ = std::make_shared<MemoryStore>();
    for (const auto& [key, data] : begin) store_->Set(key, data);
    repository_ = MustOpen(store_);
    std::atomic<int> left = at;
    store_->SetHook([&](std::string_view operation, const std::string&) -> Result<void> {
      const bool writes = operation == "put" || operation == "remove";
      if (left <= 0 || (writes && left-- <= 0)) return Fail(Code::kUnavailable, "killed");
      return {};
    });
    finished = Prune(*repository_, {.max_unused = 0}).has_value();
    repository_.reset();
    store_->SetHook({});
    // Others see that the process is gone; this one is still there.
    for (const std::string& key : store_->Keys("locks/")) Must(store_->Remove(key));
    repository_ = OpenFresh();
    ASSERT_THAT(ErrorsOf(store_), IsEmpty()) << at;
    ASSERT_TRUE(ReadContents(*repository_, record) == contents) << at;
    MustPrune(*repository_);
    ExpectSound(record, contents);
    for (const std::string& key : store_->Keys("data/")) {
      store_->SetModified(key, (repository::Now().seconds - (25L * 3600)) * 1000);
    }
    MustPrune(*repository_);
    EXPECT_LT(BytesIn(*store_, "data/"), kMiB + 10'000) << at;
  }
  EXPECT_GT(at, 8);
}

class PruneResticTest : public ResticFixture {
 protected:
  void ExpectRestored(const SnapshotRecord& record, const Contents& contents) {
    for (const auto& [name, data] : contents) {
      const Ran ran = Restic("dump " + record.file.Hex() + " " + name);
      EXPECT_TRUE(ran.status == 0 && ran.output == data) << ran.output.substr(0, 200);
    }
  }
};

TEST_F(PruneResticTest, AcceptsWhatIsLeft) {
  const std::string shared = RandomBytes(1, kMiB);
  const auto gone = SaveSnapshot(*repository_, {{"a", shared}, {"b", RandomBytes(2, kMiB)}});
  const Contents contents = {{"a", shared}, {"dir/text", std::string(5000, 'x')}};
  const auto stays = SaveSnapshot(*repository_, contents);
  for (int i = 0; i < 25; ++i) {
    SaveSnapshot(*repository_, {{"dir/small", RandomBytes(10 + i, 100)}});
  }
  Must(repository_->RemoveSnapshot(gone.file));
  EXPECT_GT(MustPrune(*repository_).packs_repacked, 20U);
  CheckWithRestic();
  ExpectRestored(stays, contents);
}

TEST_F(PruneResticTest, TakesTurnsWithRestic) {
  Contents contents;
  SnapshotRecord last;
  for (int round = 0; round < 3; ++round) {
    contents["file" + std::to_string(round)] = RandomBytes(round, kMiB / 4);
    contents["dir/changes"] = RandomBytes(100 + round, kMiB / 4);
    last = SaveSnapshot(*repository_, contents);
    const Ran ran = Restic("forget --keep-last 1 --group-by host --prune --max-unused 0");
    ASSERT_EQ(ran.status, 0) << ran.output;
    contents["dir/changes"] = RandomBytes(200 + round, kMiB / 4);
    const SnapshotRecord before = std::exchange(last, SaveSnapshot(*repository_, contents));
    Must(repository_->RemoveSnapshot(before.file));
    MustPrune(*repository_);
    EXPECT_THAT(ErrorsOf(*repository_), IsEmpty());
    CheckWithRestic();
    ExpectRestored(last, contents);
  }
}

TEST_F(PruneResticTest, PrunesWhatResticWrote) {
  ASSERT_EQ(Restic("backup --host h /usr/include/linux").status, 0);
  ASSERT_EQ(Restic("backup --host h --exclude '/usr/include/linux/*e*' /usr/include/linux").status,
            0);
  ASSERT_EQ(Restic("forget --keep-last 1 --group-by host").status, 0);
  const PruneResult result = MustPrune(*repository_);
  EXPECT_GT(result.blobs_removed, 100U);
  CheckWithRestic();
  EXPECT_EQ(Restic("restore latest --target '" + dir_.path() + "/target'").status, 0);
  EXPECT_EQ(std::system(("cd '" + dir_.path() +
                         "/target/usr/include/linux' && find . -type f | "
                         "xargs -I {} cmp {} /usr/include/linux/{}")
                            .c_str()),
            0);
}

}  // namespace
}  // namespace atl::snapshot
