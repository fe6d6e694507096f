// SPDX-License-Identifier: Apache-2.0
#include "repository/pack_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "repository/test_repository.h"
#include "sys/fd.h"

namespace atl::repository {
namespace {

constexpr uint64_t kLimit = 1U << 20U;

std::vector<std::filesystem::path> FilesIn(const std::string& dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

std::shared_ptr<const std::string> Bytes(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

TEST(PackCache, KeepsPacksForEveryProcess) {
  const TestDir dir;
  PackCache first(dir.path(), kLimit);
  PackCache second(dir.path(), kLimit);
  const Id pack = Hash("pack");
  EXPECT_FALSE(first.Read(pack, 0, 1));
  first.Put(pack, Bytes("0123456789"));
  EXPECT_EQ(second.Read(pack, 2, 3), "234");
  EXPECT_FALSE(second.Read(pack, 8, 3));
  second.Drop(pack);
  EXPECT_FALSE(first.Read(pack, 0, 1));
}

TEST(PackCache, IsBoundedAndDropsWhatWasNotUsed) {
  const TestDir dir;
  PackCache cache(dir.path(), kLimit);
  for (int i = 0; i < 30; ++i) {
    const Id pack = Hash(std::to_string(i));
    cache.Put(pack, Bytes(RandomBytes(i, 100'000)));
    for (const auto& file : FilesIn(dir.path())) {
      // The first is used again and again; the others grow old.
      const bool first = file.filename() == Hash("0").Hex();
      const timespec time{.tv_sec = 1'000'000 + (first ? 1000 : i), .tv_nsec = 0};
      const timespec times[2] = {time, time};
      if (first || file.filename() == pack.Hex()) ::utimensat(AT_FDCWD, file.c_str(), times, 0);
    }
  }
  uint64_t total = 0;
  for (const auto& file : FilesIn(dir.path())) total += std::filesystem::file_size(file);
  EXPECT_LE(total, kLimit + (kLimit / 8));
  EXPECT_GE(total, kLimit / 2);
  EXPECT_TRUE(cache.Read(Hash("0"), 0, 1));
  EXPECT_FALSE(cache.Read(Hash("1"), 0, 1));
  EXPECT_TRUE(cache.Read(Hash("29"), 0, 1));
}

TEST(PackCache, WhatWasUsedLastStaysHoweverFastItAllIs) {
  const TestDir dir;
  PackCache cache(dir.path(), kLimit);
  const Id used = Hash("used");
  cache.Put(used, Bytes(RandomBytes(1, 100'000)));
  for (int i = 0; i < 60; ++i) {
    // Longer than the kernel's clock for times of files ticks.
    std::this_thread::sleep_for(std::chrono::milliseconds(12));
    ASSERT_TRUE(cache.Read(used, 0, 10)) << i;
    cache.Put(Hash(std::to_string(i)), Bytes(RandomBytes(i + 2, 100'000)));
  }
}

TEST(PackCache, PacksOfTreesAreFetchedOnceAndFoundAgain) {
  for (const bool on_disk : {true, false}) {
    const TestDir dir;
    const auto store = NewStore(true);
    std::vector<BlobHandle> trees;
    {
      const auto writer = MustOpen(store);
      auto session = Must(writer->Begin());
      for (int i = 0; i < 20; ++i) {
        trees.push_back({.type = BlobType::kTree,
                         .id = Must(session->Save(BlobType::kTree, RandomBytes(i, 1000))).id});
      }
      Must(session->Flush());
    }
    Options options = TestOptions();
    if (on_disk) options.cache_dir = dir.path();
    const auto reader = MustOpen(store, TestTimes(), options);
    Must(reader->Refresh());
    const uint64_t before = store->requests();
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
          for (int i = 0; i < 20; ++i)
            EXPECT_EQ(Must(reader->Load(trees[i])), RandomBytes(i, 1000));
        });
      }
    }
    EXPECT_EQ(store->requests() - before, 1U);
    if (!on_disk) continue;
    EXPECT_EQ(FilesIn(dir.path()).size(), 1U);
    // Another process.
    const auto other = MustOpen(store, TestTimes(), options);
    Must(other->Refresh());
    const uint64_t again = store->requests();
    EXPECT_EQ(Must(other->Load(trees[3])), RandomBytes(3, 1000));
    EXPECT_EQ(store->requests(), again);
  }
}

TEST(PackCache, ADamagedEntryIsFetchedAgain) {
  const TestDir dir;
  const auto store = NewStore(true);
  Options options = TestOptions();
  options.cache_dir = dir.path();
  const auto repository = MustOpen(store, TestTimes(), options);
  const BlobHandle tree = SaveBlob(*repository, RandomBytes(1, 5000), BlobType::kTree);
  const auto files = FilesIn(dir.path());
  ASSERT_EQ(files.size(), 1U);  // what was stored is there already
  for (const bool cut : {false, true}) {
    {
      std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file << "damage";
    }
    if (cut) std::filesystem::resize_file(files[0], 50);
    EXPECT_EQ(Must(repository->Load(tree)), RandomBytes(1, 5000));
    EXPECT_EQ(Hash(Must(sys::ReadFile(files[0].string()))).Hex(), files[0].filename().string());
  }
}

TEST(PackCache, DamageInTheStoreIsNotKept) {
  const TestDir dir;
  const auto store = NewStore(true);
  Options options = TestOptions();
  const BlobHandle tree = SaveBlob(*MustOpen(store), RandomBytes(1, 5000), BlobType::kTree);
  store->Flip(store->Keys("data/").at(0), 100);
  options.cache_dir = dir.path();
  const auto repository = MustOpen(store, TestTimes(), options);
  Must(repository->Refresh());
  EXPECT_EQ(repository->Load(tree).error().reason, "REPOSITORY_CORRUPT");
  EXPECT_TRUE(FilesIn(dir.path()).empty());
  store->Flip(store->Keys("data/").at(0), 100);
  EXPECT_EQ(Must(repository->Load(tree)), RandomBytes(1, 5000));
}

}  // namespace
}  // namespace atl::repository
