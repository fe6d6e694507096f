// SPDX-License-Identifier: Apache-2.0
#include "repository/unpacked.h"
#include "snapshot/maintenance_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

Contents Example() {
  return {{"a", RandomBytes(1, 40'000)},
          {"dir/b", RandomBytes(2, 50'000)},
          {"dir/text", std::string(10'000, 'x')},
          {"empty", ""}};
}

class CheckTest : public testing::Test {
 protected:
  void SetUp() override {
    writer_ = MustOpen(store_);
    record_ = SaveSnapshot(*writer_, Example());
    repository_ = MustOpen(store_);
    ASSERT_THAT(ErrorsOf(*repository_), IsEmpty());
  }
  std::string PackOf(BlobType type) const {
    std::string key;
    writer_->ForEachBlob([&](const Id& pack, const repository::PackedBlob& blob) {
      if (blob.handle.type == type) key = KeyOf(FileType::kData, pack);
    });
    return key;
  }
  // One byte differs, or the last is missing.
  void Break(const std::string& key, bool truncate, size_t at) {
    std::string data = store_->At(key);
    if (truncate) {
      data.pop_back();
    } else {
      data.at(at) ^= 1;
    }
    store_->Set(key, data);
  }
  static std::string ShortName(const std::string& key) {
    return key.substr(key.rfind('/') + 1).substr(0, 8);
  }
  // Found by a repository that was open already, and by one that is opened now.
  void ExpectNamed(const std::string& kind, const std::string& key, bool read_data) {
    for (auto* repository : {repository_.get(), MustOpen(store_).release()}) {
      const std::unique_ptr<repository::Repository> owned(
          repository == repository_.get() ? nullptr : repository);
      EXPECT_THAT(ErrorsOf(*repository, read_data),
                  Contains(AllOf(HasSubstr(kind), HasSubstr(ShortName(key)))));
    }
  }

  std::shared_ptr<MemoryStore> store_ = repository::NewStore();
  std::unique_ptr<repository::Repository> writer_;
  std::unique_ptr<repository::Repository> repository_;
  SnapshotRecord record_;
};

class Damage : public CheckTest, public testing::WithParamInterface<bool> {};

TEST_P(Damage, OfTheConfigIsFound) {
  Break("config", GetParam(), 20);
  EXPECT_THAT(ErrorsOf(*repository_), Contains(HasSubstr("config")));
  const auto opened = repository::OpenRepository(store_, repository::TestOptions(), {});
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("config"));
}

TEST_P(Damage, OfAKeyIsFound) {
  const std::string key = store_->Keys("keys/").at(0);
  Break(key, GetParam(), 30);
  EXPECT_THAT(ErrorsOf(*repository_), Contains(AllOf(HasSubstr("key"), HasSubstr(ShortName(key)))));
}

TEST_P(Damage, OfAnIndexIsFound) {
  const std::string key = store_->Keys("index/").at(0);
  Break(key, GetParam(), 30);
  ExpectNamed("index", key, false);
}

TEST_P(Damage, OfASnapshotIsFound) {
  const std::string key = store_->Keys("snapshots/").at(0);
  Break(key, GetParam(), 30);
  ExpectNamed("snapshot", key, false);
}

TEST_P(Damage, OfATreeIsFoundWithoutReadingAll) {
  const std::string key = PackOf(BlobType::kTree);
  Break(key, GetParam(), 20);
  ExpectNamed("pack", key, false);
  ExpectNamed("pack", key, true);
}

TEST_P(Damage, OfDataIsFound) {
  const std::string key = PackOf(BlobType::kData);
  Break(key, GetParam(), 20);
  ExpectNamed("pack", key, true);
}

TEST_P(Damage, OfAPacksHeaderIsFound) {
  const std::string key = PackOf(BlobType::kData);
  Break(key, GetParam(), store_->At(key).size() - 20);
  ExpectNamed("pack", key, true);
}

TEST_P(Damage, OfTheLengthOfAPacksHeaderIsFound) {
  const std::string key = PackOf(BlobType::kData);
  Break(key, GetParam(), store_->At(key).size() - 4);
  ExpectNamed("pack", key, true);
}

INSTANTIATE_TEST_SUITE_P(All, Damage, testing::Bool(),
                         [](const auto& info) { return info.param ? "Cut" : "Flipped"; });

TEST_F(CheckTest, CountsWhatIsThere) {
  const CheckResult result = Must(Check(*repository_, {.read_data = true}));
  EXPECT_EQ(result.snapshots, 1U);
  EXPECT_EQ(result.trees, 2U);
  EXPECT_EQ(result.packs, 2U);
  EXPECT_EQ(result.blobs, 5U);
  EXPECT_THAT(result.hints, IsEmpty());
}

TEST_F(CheckTest, NamesAMissingPack) {
  const std::string key = PackOf(BlobType::kData);
  Must(store_->Remove(key));
  ExpectNamed("pack", key, false);
}

TEST_F(CheckTest, NamesWhatMissesABlob) {
  auto session = Must(writer_->Begin());
  repository::Node node;
  node.name = "file";
  node.content = {repository::Hash("nowhere")};
  const Id tree = SaveTree(*session, {});
  repository::Node dir;
  dir.name = "dir";
  dir.type = repository::NodeType::kDirectory;
  dir.subtree = tree;
  std::vector<repository::Node> nodes;
  nodes.push_back(std::move(dir));
  nodes.push_back(std::move(node));
  const Id root = SaveTree(*session, nodes);
  Must(session->Flush());
  SnapshotRecord record = repository::NewRecord(root);
  Must(writer_->SaveSnapshot(record));
  EXPECT_THAT(ErrorsOf(*repository_, false),
              Contains(AllOf(HasSubstr("tree " + root.Short()),
                             HasSubstr(repository::Hash("nowhere").Short()))));
}

// Authentic, and yet not true.
TEST_F(CheckTest, FindsAnIndexThatLies) {
  repository::IndexFile index;
  Must(repository::DecodeIndex(
      Must(repository::LoadUnpacked(*store_, writer_->key(), FileType::kIndex,
                                    repository::ParseKey(store_->Keys("index/").at(0))->id,
                                    1U << 20U, {})),
      [&](repository::IndexedPack pack) -> Result<void> {
        index.packs.push_back(std::move(pack));
        return {};
      }));
  Must(store_->Remove(store_->Keys("index/").at(0)));
  std::string liar;
  for (auto& pack : index.packs) {
    if (pack.blobs[0].handle.type == BlobType::kTree) continue;
    std::swap(pack.blobs[0].handle, pack.blobs[1].handle);
    liar = KeyOf(FileType::kData, pack.pack);
  }
  Must(repository::PutUnpacked(*store_, writer_->key(), FileType::kIndex, EncodeIndex(index), {}));
  EXPECT_THAT(ErrorsOf(*MustOpen(store_)),
              Contains(AllOf(HasSubstr("pack " + ShortName(liar)), HasSubstr("index"))));
}

TEST_F(CheckTest, HintsAreNoErrors) {
  repository::SaveBlob(*writer_, "nobody needs this");
  store_->Set(KeyOf(FileType::kData, repository::Hash("orphan")), "orphan");
  const CheckResult result = Must(Check(*repository_, {.read_data = true}));
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.hints, Contains(HasSubstr("1 blobs")));
  EXPECT_THAT(result.hints, Contains(HasSubstr("1 packs")));
}

TEST_F(CheckTest, AStoreThatFailsIsNoDamage) {
  store_->SetHook([](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation == "range" && key.starts_with("data/")) {
      return Fail(Code::kUnavailable, "the network is down");
    }
    return {};
  });
  const auto result = Check(*repository_, {.read_data = true});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kUnavailable);
}

TEST_F(CheckTest, StatsAddUp) {
  SaveSnapshot(*writer_, Example(), {.sandbox = "other", .dir = "/workspace"});
  const Stats stats = Must(CollectStats(*repository_));
  EXPECT_EQ(stats.snapshots, 2U);
  EXPECT_EQ(stats.sandboxes, 2U);
  EXPECT_EQ(stats.packs, 2U);
  EXPECT_EQ(stats.blobs, 5U);
  EXPECT_EQ(stats.index_files, 1U);
  EXPECT_EQ(stats.restored_bytes, 200'000U);
  uint64_t stored = 0;
  for (const std::string& key : store_->Keys("data/")) stored += store_->At(key).size();
  EXPECT_EQ(stats.stored_bytes, stored);
  EXPECT_GT(stats.plain_bytes, 100'000U);
}

TEST_F(ResticFixture, WhatResticWroteIsSound) {
  ASSERT_EQ(Restic("backup /usr/include/linux").status, 0);
  ASSERT_EQ(Restic("backup /usr/include/linux/netfilter").status, 0);
  const CheckResult result = Must(Check(*repository_, {.read_data = true}));
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshots, 2U);
  EXPECT_GT(Must(CollectStats(*repository_)).restored_bytes, 1'000'000U);
}

}  // namespace
}  // namespace atl::snapshot
