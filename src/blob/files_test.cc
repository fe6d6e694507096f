// SPDX-License-Identifier: Apache-2.0
#include "blob/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "sys/fd.h"

namespace atl::blob {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "atoll-files-XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    path_ = root_ + "/repository";
    auto opened = OpenFiles(path_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = *opened;
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(root_)); }

  std::vector<std::string> Keys(const ListOptions& options) {
    auto entries = store_->List(options);
    EXPECT_TRUE(entries);
    std::vector<std::string> keys;
    if (entries) {
      for (const Entry& entry : *entries) keys.push_back(entry.key);
    }
    return keys;
  }
  size_t Temporaries() const {
    size_t count = 0;
    for ([[maybe_unused]] auto& item : std::filesystem::directory_iterator(path_ + "/tmp")) ++count;
    return count;
  }

  std::string root_;
  std::string path_;
  std::shared_ptr<Store> store_;
};

TEST_F(FilesTest, ABlobComesBackAsItWasPut) {
  std::string large(9'000'001, 'x');
  std::vector<std::string_view> pieces{"one ", "", "two ", large, "end"};
  ASSERT_TRUE(store_->Put("data/ab/abcd", pieces));
  auto got = store_->Get("data/ab/abcd", 1ULL << 30U);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == "one two " + large + "end");
  EXPECT_EQ(store_->Size("data/ab/abcd").value(), std::optional<uint64_t>(got->size()));
  EXPECT_EQ(store_->GetRange("data/ab/abcd", 4, 5).value(), "two x");
  ASSERT_TRUE(store_->Put("data/ab/abcd", "replaced"));
  EXPECT_EQ(store_->Get("data/ab/abcd", 100).value(), "replaced");
  ASSERT_TRUE(store_->Put("empty", ""));
  EXPECT_EQ(store_->Get("empty", 0).value(), "");
  EXPECT_EQ(Temporaries(), 0U);
  EXPECT_EQ(store_->requests(), 0U);
}

TEST_F(FilesTest, OnlyTheOwnerGetsAtBlobs) {
  ASSERT_TRUE(store_->Put("keys/one", "secret"));
  for (const char* name : {"", "/keys", "/tmp", "/keys/one"}) {
    struct stat st{};
    ASSERT_EQ(::stat((path_ + name).c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 077U, 0U) << name;
  }
}

TEST_F(FilesTest, WhatIsMissingSaysSo) {
  ASSERT_TRUE(store_->Put("config", "c"));
  for (const char* key : {"nothing", "data/00/nothing", "config/below"}) {
    auto got = store_->Get(key, 10);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::kNotFound);
    EXPECT_EQ(got.error().reason, "BLOB_NOT_FOUND");
    EXPECT_EQ(store_->Size(key).value(), std::nullopt);
    EXPECT_TRUE(store_->Remove(key));
  }
}

TEST_F(FilesTest, WhatIsTooLongOrTooShortSaysSo) {
  ASSERT_TRUE(store_->Put("config", "12345"));
  EXPECT_EQ(store_->Get("config", 4).error().code, Code::kTooLarge);
  EXPECT_EQ(store_->GetRange("config", 2, 4).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store_->GetRange("config", 2, UINT64_MAX).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store_->GetRange("config", 6, 0).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store_->GetRange("config", 5, 0).value(), "");
}

TEST_F(FilesTest, KeysThatAreNoneAreRefused) {
  for (const char* key : {"", "/", "a/", "/a", "a//b", "..", "a/../b", ".hidden", "a/.b", "tmp",
                          "tmp/x", "a b", "a\nb", "\xc3\xa4", "-x"}) {
    EXPECT_EQ(store_->Put(key, "x").error().code, Code::kInvalidArgument) << key;
    EXPECT_EQ(store_->Get(key, 10).error().code, Code::kInvalidArgument) << key;
    EXPECT_EQ(store_->Remove(key).error().code, Code::kInvalidArgument) << key;
  }
  EXPECT_FALSE(store_->Put(std::string(201, 'a'), "x"));
  EXPECT_FALSE(store_->List({.prefix = "../"}));
}

TEST_F(FilesTest, ListsInTheOrderOfBytes) {
  for (const char* key : {"a", "a-b/x", "a.c", "ab", "data/00/1", "data/ff/2", "data/0a/3",
                          "index/B", "index/a", "config"}) {
    ASSERT_TRUE(store_->Put(key, key));
  }
  std::ofstream(path_ + "/.hidden") << "x";
  EXPECT_THAT(Keys({}), ElementsAre("a", "a-b/x", "a.c", "ab", "config", "data/00/1", "data/0a/3",
                                    "data/ff/2", "index/B", "index/a"));
  EXPECT_THAT(Keys({.prefix = "data/0"}), ElementsAre("data/00/1", "data/0a/3"));
  EXPECT_THAT(Keys({.prefix = "data/", .start_after = "data/0a/3"}), ElementsAre("data/ff/2"));
  EXPECT_THAT(Keys({.start_after = "data/0b"}), ElementsAre("data/ff/2", "index/B", "index/a"));
  EXPECT_THAT(Keys({.prefix = "nothing/"}), IsEmpty());
  auto entries = store_->List({.prefix = "config"});
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().size, 6U);
  EXPECT_NEAR(static_cast<double>(entries->front().modified_ms),
              static_cast<double>(::time(nullptr)) * 1000, 60'000);
}

TEST_F(FilesTest, AFolderThatVanishedIsMadeAgain) {
  ASSERT_TRUE(store_->Put("data/ab/1", "x"));
  ASSERT_TRUE(sys::RemoveTree(path_ + "/data"));
  ASSERT_TRUE(sys::RemoveTree(path_ + "/tmp"));
  ASSERT_TRUE(store_->Put("data/ab/2", "y"));
  EXPECT_EQ(store_->Get("data/ab/2", 10).value(), "y");
}

TEST_F(FilesTest, AStreamAppearsWhenItIsFinished) {
  auto upload = store_->PutStream("archives/x.tar.zst", "application/zstd");
  ASSERT_TRUE(upload);
  ASSERT_TRUE((*upload)->Write("hello, "));
  ASSERT_TRUE((*upload)->Write("world"));
  EXPECT_FALSE(store_->Get("archives/x.tar.zst", 100));
  ASSERT_TRUE((*upload)->Finish());
  EXPECT_EQ(store_->Get("archives/x.tar.zst", 100).value(), "hello, world");
  auto dropped = store_->PutStream("archives/y", "");
  ASSERT_TRUE((*dropped)->Write("never"));
  dropped->reset();
  EXPECT_FALSE(store_->Get("archives/y", 100));
  EXPECT_EQ(Temporaries(), 0U);
}

TEST_F(FilesTest, ThereAreNoUrls) {
  EXPECT_EQ(store_->Presign("config", std::chrono::seconds(1)).error().reason,
            "PRESIGN_UNSUPPORTED");
}

TEST_F(FilesTest, OldTemporariesGoWhenTheStoreIsOpened) {
  for (const char* name : {"old", "young"}) std::ofstream(path_ + "/tmp/" + name) << "x";
  timespec times[2] = {{.tv_sec = ::time(nullptr) - 90'000}, {.tv_sec = ::time(nullptr) - 90'000}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (path_ + "/tmp/old").c_str(), times, 0), 0);
  ASSERT_TRUE(OpenFiles(path_));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/tmp/old"));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/tmp/young"));
}

TEST_F(FilesTest, StopsWhenAsked) {
  ASSERT_TRUE(store_->Put("config", "x"));
  std::stop_source source;
  source.request_stop();
  auto stop = source.get_token();
  EXPECT_EQ(store_->Put("a", "x", stop).error().code, Code::kCancelled);
  EXPECT_EQ(store_->Get("config", 10, stop).error().code, Code::kCancelled);
  EXPECT_EQ(store_->List({}, stop).error().code, Code::kCancelled);
  EXPECT_FALSE(store_->Get("a", 10));
  EXPECT_EQ(Temporaries(), 0U);
}

TEST_F(FilesTest, ThreadsAndProcessesShareIt) {
  constexpr int kBlobs = 40;
  auto put = [](Store& store, int who) {
    for (int i = 0; i < kBlobs; ++i) {
      std::string key =
          "data/" + std::to_string(i % 7) + "x/" + std::to_string(who) + "-" + std::to_string(i);
      if (!store.Put(key, key) || !store.Put("shared", std::string(1000, 'a' + who % 26))) {
        return false;
      }
    }
    return true;
  };
  pid_t child = ::fork();
  if (child == 0) {
    auto store = OpenFiles(path_);
    ::_exit(store && put(**store, 100) ? 0 : 1);
  }
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (int who = 0; who < 4; ++who) {
      threads.emplace_back([&, who] { good += put(*store_, who) ? 1 : 0; });
    }
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(good, 4);
  auto entries = store_->List({.prefix = "data/"});
  ASSERT_TRUE(entries);
  EXPECT_EQ(entries->size(), 5U * kBlobs);
  for (const Entry& entry : *entries) {
    EXPECT_EQ(store_->Get(entry.key, 100).value(), entry.key);
  }
  std::string shared = store_->Get("shared", 2000).value();
  EXPECT_EQ(shared, std::string(1000, shared.front()));
  EXPECT_EQ(Temporaries(), 0U);
}

TEST_F(FilesTest, AFullDiskSaysSoAndLeavesNothing) {
  std::string small = root_ + "/small";
  ASSERT_TRUE(sys::MakeDirs(small));
  if (::mount("none", small.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "no mount";
  auto store = OpenFiles(small + "/store");
  ASSERT_TRUE(store);
  auto put = (*store)->Put("data/a", std::string(4 << 20, 'x'));
  EXPECT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kResourceExhausted);
  EXPECT_EQ(put.error().reason, "NO_SPACE");
  EXPECT_TRUE((*store)->Put("data/a", "fits"));
  EXPECT_EQ((*store)->List({})->size(), 1U);
  store->reset();
  EXPECT_EQ(::umount2(small.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace atl::blob
