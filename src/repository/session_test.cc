// SPDX-License-Identifier: Apache-2.0
#include "repository/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "repository/test_repository.h"

namespace atl::repository {
namespace {

using std::chrono::milliseconds;

TEST(Session, StoresOnceWhatIsSavedTwice) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const auto lock = Must(repository->LockShared());
  auto session = Must(repository->Begin());
  const auto first = Must(session->Save(BlobType::kData, "content"));
  EXPECT_TRUE(first.added);
  EXPECT_FALSE(Must(session->Save(BlobType::kData, "content")).added);
  EXPECT_TRUE(Must(session->Save(BlobType::kTree, "content")).added);
  EXPECT_TRUE(session->Has({.type = BlobType::kData, .id = first.id}));
  EXPECT_FALSE(repository->Has({.type = BlobType::kData, .id = first.id}));
  Must(session->Flush());
  EXPECT_TRUE(repository->Has({.type = BlobType::kData, .id = first.id}));
  EXPECT_EQ(Must(repository->Load({.type = BlobType::kData, .id = first.id})), "content");
  EXPECT_EQ(session->totals().data_blobs, 1U);
  EXPECT_EQ(session->totals().tree_blobs, 1U);
  EXPECT_EQ(session->totals().added, 14U);
  // Another one, after the repository was opened anew.
  const auto again = MustOpen(store);
  Must(again->Refresh());
  session = Must(again->Begin());
  EXPECT_FALSE(Must(session->Save(BlobType::kData, "content")).added);
  const size_t keys = store->Keys().size();
  Must(session->Flush());
  EXPECT_EQ(store->Keys().size(), keys);  // nothing new, nothing written
}

TEST(Session, PutsLittleIntoOnePackOfARemoteStore) {
  for (const bool remote : {true, false}) {
    const auto store = NewStore(remote);
    const auto repository = MustOpen(store);
    const auto lock = Must(repository->LockShared());
    auto session = Must(repository->Begin());
    std::vector<BlobHandle> handles;
    for (uint64_t i = 0; i < 50; ++i) {
      const BlobType type = i % 2 == 0 ? BlobType::kData : BlobType::kTree;
      handles.push_back({.type = type, .id = Must(session->Save(type, RandomBytes(i, 10'000))).id});
    }
    Must(session->Flush());
    EXPECT_EQ(store->Keys("data/").size(), remote ? 1U : 2U);
    EXPECT_EQ(store->Keys("index/").size(), 1U);
    for (uint64_t i = 0; i < 50; ++i) {
      EXPECT_EQ(Must(repository->Load(handles[i])), RandomBytes(i, 10'000));
    }
  }
}

TEST(Session, AnIncrementalSnapshotTakesSixRequests) {
  const auto store = NewStore(true);
  const auto repository = MustOpen(store);
  SaveBlob(*repository, "earlier");
  const uint64_t before = store->requests();
  {
    const auto lock = Must(repository->LockShared());
    auto session = Must(repository->Begin());
    Must(session->Save(BlobType::kData, "new"));
    const auto tree = Must(session->Save(BlobType::kTree, "{\"nodes\":[]}\n"));
    Must(session->Flush());
    SnapshotRecord record = NewRecord(tree.id);
    Must(repository->SaveSnapshot(record));
  }
  EXPECT_EQ(store->requests() - before, 6U);
}

TEST(Session, NamesPacksByTheirContent) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  auto session = Must(repository->Begin());
  for (uint64_t i = 0; i < 40; ++i) {
    Must(session->Save(BlobType::kData, RandomBytes(i, 1U << 20U)));
  }
  Must(session->Flush());
  const auto packs = store->Keys("data/");
  EXPECT_EQ(packs.size(), 3U);
  for (const std::string& key : packs) {
    const std::string pack = store->At(key);
    EXPECT_EQ(KeyOf(FileType::kData, Hash(pack)), key);
    EXPECT_TRUE(DecodePackHeader(repository->key(), pack, pack.size()));
  }
}

TEST(Session, WritesTheIndexAfterThePacks) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  std::atomic<int> packs = 0;
  std::atomic<bool> early = false;
  store->SetHook([&](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation != "put") return {};
    if (key.starts_with("data/")) {
      std::this_thread::sleep_for(milliseconds(20));
      ++packs;
    }
    if (key.starts_with("index/") && packs < 3) early = true;
    return {};
  });
  auto session = Must(repository->Begin());
  for (uint64_t i = 0; i < 40; ++i) {
    Must(session->Save(BlobType::kData, RandomBytes(i, 1U << 20U)));
  }
  Must(session->Flush());
  EXPECT_EQ(packs, 3);
  EXPECT_FALSE(early);
}

TEST(Session, WritesIndexesOfABoundedSizeOnItsWay) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  auto session = Must(repository->Begin());
  for (uint64_t i = 0; i < 120'000; ++i) {
    Must(session->Save(BlobType::kData, std::to_string(i)));
  }
  Must(session->Flush());
  EXPECT_GE(store->Keys("index/").size(), 3U);
  EXPECT_EQ(repository->blob_count(), 120'000U);
  const auto other = MustOpen(store);
  Must(other->Refresh());
  EXPECT_EQ(other->blob_count(), 120'000U);
}

TEST(Session, HoldsBackWhenTheStoreIsSlow) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  std::atomic<bool> open = false;
  std::atomic<int> waiting = 0;
  store->SetHook([&](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation != "put" || !key.starts_with("data/")) return {};
    ++waiting;
    while (!open) std::this_thread::sleep_for(milliseconds(1));
    return {};
  });
  auto session = Must(repository->Begin());
  std::atomic<uint64_t> saved = 0;
  const std::string base = RandomBytes(1, 1U << 20U);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          std::string data = base;
          const std::string number = std::to_string((t * 1000) + i);
          data.replace(0, number.size(), number);
          Must(session->Save(BlobType::kData, data));
          saved += data.size();
        }
      });
    }
    uint64_t before = 1;
    while (before != saved) {
      before = saved;
      std::this_thread::sleep_for(milliseconds(300));
    }
    EXPECT_LT(saved, 96U << 20U);
    EXPECT_GT(saved, 48U << 20U);
    EXPECT_LE(waiting, 3);
    open = true;
  }
  Must(session->Flush());
  EXPECT_EQ(saved, 200U << 20U);
}

TEST(Session, AStoreThatFailsFailsTheSession) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  store->SetHook([](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation == "put" && key.starts_with("data/")) {
      return Fail(Code::kResourceExhausted, "the store is full", "NO_SPACE");
    }
    return {};
  });
  auto session = Must(repository->Begin());
  const auto saved = Must(session->Save(BlobType::kData, "content"));
  const auto flushed = session->Flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().reason, "NO_SPACE");
  EXPECT_FALSE(session->Save(BlobType::kData, "more"));
  EXPECT_FALSE(repository->Has({.type = BlobType::kData, .id = saved.id}));
  EXPECT_TRUE(store->Keys("index/").empty());
}

TEST(Session, EndsWithoutFlushAndWhenStopped) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  {
    auto session = Must(repository->Begin());
    Must(session->Save(BlobType::kData, RandomBytes(1, 20U << 20U)));
  }
  EXPECT_TRUE(store->Keys("index/").empty());
  std::stop_source stop;
  auto session = Must(repository->Begin(stop.get_token()));
  Must(session->Save(BlobType::kData, "content"));
  stop.request_stop();
  const auto flushed = session->Flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().code, Code::kCancelled);
}

TEST(Session, GivesUpCleaningUpWithAStoreThatFails) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  std::atomic<int> removals = 0;
  store->SetHook([&](std::string_view operation, const std::string& key) -> Result<void> {
    if (operation == "remove") ++removals;
    if (operation == "put" && key.starts_with("data/") && store->Keys("data/").size() >= 2) {
      return Fail(Code::kUnavailable, "the store is away");
    }
    return operation == "remove" ? Result<void>(Fail(Code::kUnavailable, "the store is away"))
                                 : Result<void>();
  });
  {
    auto session = Must(repository->Begin());
    for (uint64_t i = 0; i < 64 && session->Save(BlobType::kData, RandomBytes(i, 1U << 20U)); ++i) {
    }
    EXPECT_FALSE(session->Flush());
  }
  EXPECT_GE(store->Keys("data/").size(), 2U);
  EXPECT_EQ(removals, 1);
}

TEST(Session, RepackStoresAgainWhatLeaves) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  const BlobHandle handle = SaveBlob(*repository, "content");
  const Id pack = repository->Find(handle)->pack;
  const auto lock = Must(repository->LockExclusive());
  auto session = Must(repository->BeginRepack({pack}));
  EXPECT_FALSE(session->Has(handle));
  EXPECT_TRUE(Must(session->Save(handle, "content")).added);
  Must(session->Flush());
  EXPECT_TRUE(session->Has(handle));
  Must(repository->ReplaceIndex({pack}));
  EXPECT_NE(repository->Find(handle)->pack, pack);
  EXPECT_EQ(Must(repository->Load(handle)), "content");
}

// Not a test of speed: prints it.
TEST(Session, SavesManySmallBlobsQuickly) {
  const auto store = NewStore();
  const auto repository = MustOpen(store);
  constexpr int kBlobs = 20'000;
  std::vector<std::string> blobs;
  for (uint64_t i = 0; i < kBlobs; ++i) {
    // Half of it compresses.
    std::string blob = RandomBytes(i, 5'000);
    while (blob.size() < 10'000) blob += "const value = require('./value');\n";
    blobs.push_back(std::move(blob));
  }
  const auto begun = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  auto session = Must(repository->Begin());
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = t; i < kBlobs; i += 2) Must(session->Save(BlobType::kData, blobs[i]));
      });
    }
  }
  Must(session->Flush());
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  const double used = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  RecordProperty("wall_ms", static_cast<int>(wall * 1000));
  RecordProperty("cpu_ms", static_cast<int>(used * 1000));
  std::printf("20,000 blobs, 200 MB: %.2f s, %.2f s of CPU, %.1f MB packed\n", wall, used,
              static_cast<double>(session->totals().added_packed) / 1e6);
  EXPECT_EQ(repository->blob_count(), static_cast<uint64_t>(kBlobs));
}

}  // namespace
}  // namespace atl::repository
