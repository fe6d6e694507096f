// SPDX-License-Identifier: Apache-2.0
#include "repository/index_map.h"

#include <gtest/gtest.h>

#include <cstring>

namespace atl::repository {
namespace {

Id MakeId(uint64_t number) { return Hash(std::to_string(number)); }

BlobHandle Data(uint64_t number) { return {.type = BlobType::kData, .id = MakeId(number)}; }

IndexedPack MakePack(uint64_t pack, uint64_t first, uint64_t count) {
  IndexedPack indexed{.pack = MakeId(1'000'000'000 + pack), .blobs = {}};
  for (uint64_t i = 0; i < count; ++i) {
    indexed.blobs.push_back({.handle = Data(first + i),
                             .offset = static_cast<uint32_t>(i * 100),
                             .length = 100,
                             .raw_length = 200});
  }
  return indexed;
}

TEST(IndexMap, FindsWhatAFileSays) {
  IndexMap index(1'000'000);
  const std::vector<IndexedPack> packs = {MakePack(1, 0, 5000), MakePack(2, 5000, 5000)};
  ASSERT_TRUE(index.AddFile(MakeId(1), packs));
  EXPECT_EQ(index.blob_count(), 10'000U);
  for (const IndexedPack& pack : packs) {
    for (const PackedBlob& blob : pack.blobs) {
      const auto found = index.Find(blob.handle);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->pack, pack.pack);
      EXPECT_EQ(found->blob, blob);
    }
  }
  EXPECT_FALSE(index.Has(Data(10'000)));
  // A tree of the same hash is something else.
  EXPECT_FALSE(index.Has({.type = BlobType::kTree, .id = MakeId(1)}));
  EXPECT_EQ(index.PackEnd(packs[0].pack), 500'000U);
}

TEST(IndexMap, APackGoesWithTheLastFileThatNamesIt) {
  IndexMap index(1'000'000);
  const std::vector<IndexedPack> both = {MakePack(1, 0, 3000), MakePack(2, 3000, 3000)};
  const std::vector<IndexedPack> second = {both[1]};
  ASSERT_TRUE(index.AddFile(MakeId(1), both));
  ASSERT_TRUE(index.AddFile(MakeId(2), second));
  EXPECT_EQ(index.blob_count(), 6000U);  // named twice, there once
  const Id first_file = MakeId(1);
  index.DropFiles(std::span(&first_file, 1));
  EXPECT_EQ(index.blob_count(), 3000U);
  for (uint64_t i = 0; i < 3000; ++i) {
    ASSERT_FALSE(index.Has(Data(i)));
    ASSERT_TRUE(index.Has(Data(3000 + i)));
    ASSERT_EQ(index.Find(Data(3000 + i))->pack, both[1].pack);
  }
  const Id second_file = MakeId(2);
  index.DropFiles(std::span(&second_file, 1));
  EXPECT_EQ(index.blob_count(), 0U);
  ASSERT_TRUE(index.AddFile(MakeId(3), both));
  EXPECT_EQ(index.blob_count(), 6000U);
}

TEST(IndexMap, ABlobMayBeInSeveralPacks) {
  IndexMap index(1'000'000);
  const std::vector<IndexedPack> packs = {MakePack(1, 0, 10), MakePack(2, 5, 10)};
  ASSERT_TRUE(index.AddFile(MakeId(1), packs));
  EXPECT_EQ(index.FindAll(Data(7)).size(), 2U);
  EXPECT_EQ(index.FindAll(Data(1)).size(), 1U);
  EXPECT_TRUE(index.HasOutside(Data(7), {packs[0].pack}));
  EXPECT_FALSE(index.HasOutside(Data(1), {packs[0].pack}));
}

TEST(IndexMap, IsBounded) {
  IndexMap index(100);
  const std::vector<IndexedPack> packs = {MakePack(1, 0, 101)};
  const auto added = index.AddFile(MakeId(1), packs);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().reason, "INDEX_TOO_LARGE");
  EXPECT_EQ(index.blob_count(), 0U);
  EXPECT_FALSE(index.HasFile(MakeId(1)));
}

TEST(IndexMap, GivesPacksWithTheirFiles) {
  IndexMap index(1'000'000);
  const std::vector<IndexedPack> both = {MakePack(1, 0, 30), MakePack(2, 30, 30)};
  const std::vector<IndexedPack> second = {both[1]};
  ASSERT_TRUE(index.AddFile(MakeId(1), both));
  ASSERT_TRUE(index.AddFile(MakeId(2), second));
  size_t seen = 0;
  ASSERT_TRUE(
      index.ForEachPack([&](const IndexedPack& pack, std::span<const Id> files) -> Result<void> {
        ++seen;
        const bool first = pack.pack == both[0].pack;
        EXPECT_EQ(pack.blobs, both[first ? 0 : 1].blobs);
        EXPECT_EQ(files.size(), first ? 1U : 2U);
        return {};
      }));
  EXPECT_EQ(seen, 2U);
}

}  // namespace
}  // namespace atl::repository
