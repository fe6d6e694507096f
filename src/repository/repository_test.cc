// SPDX-License-Identifier: Apache-2.0
#include "repository/repository.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "blob/files.h"
#include "repository/test_repository.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

TEST(Repository, IsMadeOnceAndOpened) {
  const auto store = NewStore();
  const auto again = Repository::Init(*store, TestOptions());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason, "REPOSITORY_EXISTS");
  const auto repository = MustOpen(store);
  EXPECT_EQ(repository->config().version, 2U);
  EXPECT_TRUE(IsIrreducible(repository->config().chunker_polynomial));

  Options wrong = TestOptions();
  wrong.password = "wrong";
  const auto refused = Repository::Open(store, wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_PASSWORD_WRONG");
  const auto missing = Repository::Open(std::make_shared<MemoryStore>(), TestOptions());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "REPOSITORY_NOT_FOUND");
}

TEST(Repository, InitGoesOnAfterAnEarlierOneWasCutShort) {
  const auto store = NewStore();
  Must(store->Remove("config"));
  const std::string left = store->Keys("keys/").at(0);
  const auto early = Repository::Init(*store, TestOptions());
  ASSERT_FALSE(early);  // may be somebody who is at it
  EXPECT_EQ(early.error().code, Code::kUnavailable);
  store->SetModified(left, (Now().seconds - 120) * 1000);
  Must(Repository::Init(*store, TestOptions()));
  EXPECT_EQ(store->Keys("keys/").size(), 1U);
  EXPECT_NE(store->Keys("keys/").at(0), left);
  MustOpen(store);
}

TEST(Repository, InitLeavesARepositoryWithoutItsConfigAlone) {
  const auto store = NewStore();
  SaveBlob(*MustOpen(store), "content");
  Must(store->Remove("config"));
  store->SetModified(store->Keys("keys/").at(0), 1);
  const auto refused = Repository::Init(*store, TestOptions());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_EXISTS");
  EXPECT_EQ(store->Keys("keys/").size(), 1U);
}

TEST(Repository, DamagedConfigAndKeysAreNamed) {
  auto store = NewStore();
  store->Flip("config", 20);
  auto refused = Repository::Open(store, TestOptions());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_CORRUPT");
  EXPECT_NE(refused.error().message.find("config"), std::string::npos);

  store = NewStore();
  const std::string key = store->Keys("keys/").at(0);
  store->Flip(key, 20);
  refused = Repository::Open(store, TestOptions());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_CORRUPT");
  EXPECT_NE(refused.error().message.find(key), std::string::npos);
}

TEST(Repository, TwoOfThemSeeEachOthersWork) {
  const auto store = NewStore();
  const auto first = MustOpen(store);
  const auto second = MustOpen(store);
  const BlobHandle handle = SaveBlob(*first, "{\"nodes\":[]}\n", BlobType::kTree);
  SnapshotRecord record = NewRecord(handle.id, {"sandbox=demo"});
  Must(first->SaveSnapshot(record));
  EXPECT_FALSE(second->Has(handle));
  {
    const auto lock = Must(second->LockShared());
  }
  EXPECT_TRUE(second->Has(handle));
  EXPECT_EQ(Must(second->FindSnapshot(record.file.Hex())).tree, handle.id);
  EXPECT_TRUE(Must(second->LoadTree(handle.id))->empty());
  Must(second->RemoveSnapshot(record.file));
  Must(first->Refresh());
  EXPECT_TRUE(first->Snapshots().empty());
}

TEST(Repository, BlobsThatAreGoneAreForgottenWithTheNextLock) {
  const auto store = NewStore();
  const auto first = MustOpen(store);
  const auto second = MustOpen(store);
  const BlobHandle gone = SaveBlob(*first, "gone");
  const BlobHandle kept = SaveBlob(*first, "kept");
  Must(second->Refresh());
  ASSERT_TRUE(second->Has(gone));
  {
    const auto lock = Must(first->LockExclusive());
    Must(first->ReplaceIndex({first->Find(gone)->pack}));
  }
  EXPECT_EQ(store->Keys("index/").size(), 1U);
  EXPECT_EQ(store->Keys("data/").size(), 1U);
  EXPECT_FALSE(first->Has(gone));
  {
    const auto lock = Must(second->LockShared());
  }
  EXPECT_FALSE(second->Has(gone));
  EXPECT_EQ(Must(second->Load(kept)), "kept");
  const auto missing = second->Load(gone);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "BLOB_MISSING");
}

TEST(Repository, AnOlderListingDropsNothingNewer) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  std::atomic<bool> once = true;
  BlobHandle handle;
  // While one lists, another saves.
  store->SetHook([&](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation != "list" || key != "index/" || !once.exchange(false)) return {};
    auto session = Must(repository->Begin());
    handle.id = Must(session->Save(BlobType::kData, "content")).id;
    Must(session->Flush());
    // As if the answer had been made before that.
    Must(store->Remove(store->Keys("index/").at(0)));
    return {};
  });
  Must(repository->Refresh());
  EXPECT_TRUE(repository->Has(handle));
  Must(repository->Refresh());
  EXPECT_FALSE(repository->Has(handle));
}

TEST(Repository, DamagedIndexFilesAreLeftOutAndNamed) {
  const auto store = NewStore();
  const BlobHandle lost = SaveBlob(*MustOpen(store), "lost");
  const std::string damaged = store->Keys("index/").at(0);
  const BlobHandle kept = SaveBlob(*MustOpen(store), "kept");
  store->Flip(damaged, 30);
  const auto repository = MustOpen(store);
  {
    const auto lock = Must(repository->LockShared());
  }
  EXPECT_FALSE(repository->Has(lost));
  EXPECT_TRUE(repository->Has(kept));
  ASSERT_EQ(repository->problems().size(), 1U);
  EXPECT_NE(repository->problems()[0].find(damaged), std::string::npos);
  {
    const auto lock = Must(repository->LockExclusive());
    const auto refused = repository->ReplaceIndex({});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "INDEX_DAMAGED");
  }
  Must(store->Remove(damaged));
  Must(repository->Refresh());
  EXPECT_TRUE(repository->problems().empty());
}

TEST(Repository, AStoreThatFailsIsNoDamage) {
  const auto store = NewStore();
  SaveBlob(*MustOpen(store), "content");
  const auto repository = MustOpen(store);
  store->SetHook([](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation == "get" && key.starts_with("index/")) return Fail(Code::kUnavailable, "503");
    return {};
  });
  EXPECT_FALSE(repository->LockShared());
  EXPECT_TRUE(store->Keys("locks/").empty());
  EXPECT_TRUE(repository->problems().empty());
  store->SetHook({});
  EXPECT_TRUE(repository->LockShared());
  EXPECT_EQ(repository->blob_count(), 1U);
}

TEST(Repository, DamagedPacksAreNamedAndAnotherCopyIsTaken) {
  const auto store = NewStore();
  const auto first = MustOpen(store);
  const auto second = MustOpen(store);
  const BlobHandle handle = SaveBlob(*first, "content");
  const std::string pack = store->Keys("data/").at(0);
  store->Flip(pack, 5);
  const auto damaged = first->Load(handle);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().reason, "REPOSITORY_CORRUPT");
  EXPECT_NE(damaged.error().message.find(handle.id.Hex()), std::string::npos);
  EXPECT_NE(damaged.error().message.find(pack.substr(8)), std::string::npos);
  // Cut off, then missing.
  store->Set(pack, "short");
  EXPECT_EQ(first->Load(handle).error().reason, "REPOSITORY_CORRUPT");
  Must(store->Remove(pack));
  EXPECT_EQ(first->Load(handle).error().reason, "REPOSITORY_CORRUPT");
  // The same blob in another pack.
  auto session = Must(second->Begin());
  Must(session->Save(BlobType::kData, "content"));
  Must(session->Flush());
  Must(first->Refresh());
  EXPECT_EQ(Must(first->Load(handle)), "content");
  // A store that fails is something else.
  store->SetHook([](std::string_view, const std::string&) -> Result<void> {
    return Fail(Code::kUnavailable, "503");
  });
  EXPECT_EQ(first->Load(handle).error().code, Code::kUnavailable);
}

TEST(Repository, AnIndexThatLiesIsFoundOut) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const BlobHandle a = SaveBlob(*repository, "content of a");
  const Id pack = repository->Find(a)->pack;
  const BlobHandle wrong{.type = BlobType::kData, .id = Hash("never stored")};
  const BlobHandle outside{.type = BlobType::kData, .id = Hash("outside")};
  const BlobHandle huge{.type = BlobType::kData, .id = Hash("huge")};
  const std::vector<PackedBlob> lies = {
      {.handle = wrong, .offset = 0, .length = repository->Find(a)->blob.length},
      {.handle = outside, .offset = 1U << 20U, .length = 100},
      {.handle = huge, .offset = 0, .length = 300U << 20U}};
  for (const PackedBlob& blob : lies) {
    IndexFile lie;
    lie.packs.push_back({.pack = pack, .blobs = {blob}});
    Must(PutUnpacked(*store, repository->key(), FileType::kIndex, EncodeIndex(lie), {}));
  }
  Must(repository->Refresh());
  for (const BlobHandle& handle : {wrong, outside, huge}) {
    const auto loaded = repository->Load(handle);
    ASSERT_FALSE(loaded);
    // One that cannot be true is left out already.
    EXPECT_EQ(loaded.error().reason, handle == huge ? "BLOB_MISSING" : "REPOSITORY_CORRUPT");
  }
  EXPECT_EQ(Must(repository->Load(a)), "content of a");
}

TEST(Repository, SnapshotsAreFoundByPrefixAndKeepTheirIdWhenTagged) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  SnapshotRecord record = NewRecord(Hash("tree"), {"sandbox=a"});
  Must(repository->SaveSnapshot(record));
  const Id id = record.id();
  const SnapshotRecord tagged = Must(repository->Retag(record, {"sandbox=a", "pinned"}));
  EXPECT_NE(tagged.file, record.file);
  EXPECT_EQ(tagged.id(), id);
  const SnapshotRecord twice = Must(repository->Retag(tagged, {"sandbox=a"}));
  EXPECT_EQ(twice.id(), id);
  EXPECT_EQ(store->Keys("snapshots/").size(), 1U);
  EXPECT_EQ(Must(repository->FindSnapshot(id.Hex().substr(0, 8))).file, twice.file);
  EXPECT_EQ(Must(repository->FindSnapshot(twice.file.Hex())).file, twice.file);
  for (const std::string& wrong : {id.Hex().substr(0, 7), std::string(), std::string(64, 'g'),
                                   std::string("../../config"), Hash("other").Hex()}) {
    const auto found = repository->FindSnapshot(wrong);
    ASSERT_FALSE(found) << wrong;
    EXPECT_EQ(found.error().reason, "BACKUP_NOT_FOUND");
  }
  // What another process reads of it.
  const auto other = MustOpen(store);
  Must(other->Refresh());
  EXPECT_EQ(WithEdition(Must(other->FindSnapshot(id.Hex())).tags, 0),
            std::vector<std::string>{"sandbox=a"});
  // A record that has another edition now.
  EXPECT_EQ(repository->Retag(tagged, {"sandbox=b"}).error().reason, "SNAPSHOT_CHANGED");
}

TEST(Repository, OfSeveralEditionsTheLastThatWasWrittenCounts) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  SnapshotRecord record = NewRecord(Hash("tree"), {"sandbox=a"});
  Must(repository->SaveSnapshot(record));
  SnapshotRecord last = record;
  // Each as one that was cut short before it removed the one before it.
  for (uint64_t edition : {3, 9, 4, 2}) {
    SnapshotRecord next = record;
    next.original = record.file;
    next.tags = WithEdition({"sandbox=a", "label" + std::to_string(edition)}, edition);
    Must(repository->SaveSnapshot(next));
    if (edition == 9) last = next;
  }
  // What restic rewrites is another snapshot.
  SnapshotRecord rewritten = record;
  rewritten.original = record.file;
  rewritten.tree = Hash("other tree");
  Must(repository->SaveSnapshot(rewritten));
  const auto other = MustOpen(store);
  Must(other->Refresh());
  for (const auto* one : {repository.get(), other.get()}) {
    EXPECT_EQ(one->Snapshots().size(), 2U);
    EXPECT_EQ(one->AllEditions().size(), 6U);
    EXPECT_EQ(Must(one->FindSnapshot(record.file.Hex())).file, last.file);
    EXPECT_EQ(Must(one->FindSnapshot(last.file.Hex())).file, last.file);
    EXPECT_EQ(Must(one->FindSnapshot(rewritten.file.Hex())).file, rewritten.file);
  }
  // An earlier one goes alone, the one that counts with all others.
  Must(repository->RemoveSnapshot(record.file));
  EXPECT_EQ(repository->AllEditions().size(), 5U);
  Must(repository->RemoveSnapshot(last.file));
  ASSERT_EQ(repository->AllEditions().size(), 1U);
  EXPECT_EQ(repository->Snapshots()[0].file, rewritten.file);
  EXPECT_EQ(store->Keys("snapshots/").size(), 1U);
}

TEST(Repository, SnapshotsThatCannotBeReadAreLeftOut) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  SnapshotRecord good = NewRecord(Hash("tree"));
  SnapshotRecord bad = NewRecord(Hash("tree"));
  Must(repository->SaveSnapshot(good));
  Must(repository->SaveSnapshot(bad));
  store->Flip(KeyOf(FileType::kSnapshot, bad.file), 20);
  const auto other = MustOpen(store);
  Must(other->Refresh());
  ASSERT_EQ(other->Snapshots().size(), 1U);
  EXPECT_EQ(other->Snapshots()[0].file, good.file);
  ASSERT_EQ(other->problems().size(), 1U);
  EXPECT_NE(other->problems()[0].find(bad.file.Hex()), std::string::npos);
}

TEST(Repository, WorksInADirectory) {
  const TestDir dir;
  const std::shared_ptr<blob::Store> store = Must(blob::OpenFiles(dir.path() + "/repository"));
  Must(Repository::Init(*store, TestOptions()));
  const auto repository = MustOpen(store);
  const BlobHandle handle = SaveBlob(*repository, "content");
  const auto other = MustOpen(Must(blob::OpenFiles(dir.path() + "/repository")));
  {
    const auto lock = Must(other->LockExclusive());
  }
  EXPECT_EQ(Must(other->Load(handle)), "content");
}

}  // namespace
}  // namespace atl::repository
