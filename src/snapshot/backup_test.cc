// SPDX-License-Identifier: Apache-2.0
#include "snapshot/backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "snapshot/backup_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Gt;
using testing::IsEmpty;
using testing::Lt;

std::vector<std::string> NamesOf(const repository::Repository::Tree& tree) {
  std::vector<std::string> names;
  for (const auto& node : *tree) names.push_back(node.name);
  return names;
}

TEST_F(BackupTest, AnEmptyDirectory) {
  BackupResult result = Take();
  EXPECT_EQ(result.files, 0U);
  EXPECT_FALSE(result.unchanged);
  EXPECT_THAT(result.record.paths, ElementsAre(work_.string()));
  EXPECT_EQ(repository_->Snapshots().size(), 1U);
  EXPECT_EQ(result.record.decoded_tags().sandbox, "demo");
  EXPECT_EQ(result.record.decoded_tags().dir, work_.string());
}

TEST_F(BackupTest, TheTreeHoldsTheWholePath) {
  Write(work_ / "a", "1");
  fs::create_directory(work_ / "sub");
  BackupResult result = Take();
  repository::Id id = result.record.tree;
  for (const fs::path& part : work_.relative_path()) {
    auto tree = repository_->LoadTree(id);
    ASSERT_TRUE(tree) << tree.error().message;
    EXPECT_THAT(NamesOf(*tree), ElementsAre(part.string()));
    EXPECT_EQ((*tree)->front().permissions, 0755);
    id = (*tree)->front().subtree;
  }
  auto tree = repository_->LoadTree(id);
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_THAT(NamesOf(*tree), ElementsAre("a", "sub"));
}

TEST_F(BackupTest, OnlyWhatChangedIsRead) {
  for (int dir = 0; dir < 10; ++dir) {
    fs::path path = work_ / ("dir" + std::to_string(dir));
    fs::create_directory(path);
    for (int i = 0; i < 20; ++i) Write(path / std::to_string(i), Noise(100 + i, dir * 100 + i));
  }
  BackupResult first = Take();
  EXPECT_EQ(first.files, 200U);
  EXPECT_EQ(first.files_changed, 200U);
  EXPECT_EQ(first.record.summary->files_new, 200U);
  EXPECT_FALSE(first.record.parent);

  BackupResult nothing = Take();
  EXPECT_EQ(nothing.files, 200U);
  EXPECT_EQ(nothing.files_changed, 0U);
  EXPECT_EQ(nothing.bytes_added, 0U);
  EXPECT_EQ(nothing.record.tree, first.record.tree);
  EXPECT_EQ(nothing.record.parent, first.record.file);
  EXPECT_EQ(nothing.bytes_total, first.bytes_total);

  Write(work_ / "dir3/7", "something else");
  Write(work_ / "dir5/new", "new");
  fs::remove(work_ / "dir6/1");
  fs::permissions(work_ / "dir7/2", fs::perms::owner_all);
  BackupResult second = Take();
  EXPECT_EQ(second.files_changed, 3U);  // a new mode is a new ctime
  EXPECT_EQ(second.files, 200U);
  EXPECT_EQ(second.record.summary->files_new, 1U);
  EXPECT_EQ(second.record.summary->files_changed, 2U);
  EXPECT_EQ(second.record.summary->files_unmodified, 197U);
  EXPECT_EQ(second.record.summary->dirs_unmodified, 6U);
  EXPECT_EQ(second.record.summary->data_blobs, 2U);

  // The same from a repository whose trees are not in memory.
  Open();
  EXPECT_EQ(Take().files_changed, 0U);
}

TEST_F(BackupTest, UnchangedGivesTheParent) {
  Write(work_ / "a", "1");
  BackupOptions options = Options();
  options.skip_if_unchanged = true;
  BackupResult first = Take(options);
  EXPECT_FALSE(first.unchanged);
  BackupResult second = Take(options);
  EXPECT_TRUE(second.unchanged);
  EXPECT_EQ(second.record.file, first.record.file);
  EXPECT_EQ(repository_->Snapshots().size(), 1U);
  Write(work_ / "a", "2");
  EXPECT_FALSE(Take(options).unchanged);
}

TEST_F(BackupTest, UnchangedKeepsTheParentAliveAsLongAsANewOneWouldBe) {
  Write(work_ / "a", "1");
  const int64_t now = std::time(nullptr);
  BackupOptions options = Options();
  options.skip_if_unchanged = true;
  options.tags.expires_at = now + 1000;
  options.tags.labels = {"mine"};
  const BackupResult first = Take(options);
  const auto take = [&](std::optional<int64_t> expires_at) {
    options.tags.expires_at = expires_at;
    const BackupResult result = Take(options);
    EXPECT_TRUE(result.unchanged);
    EXPECT_EQ(result.record.id(), first.record.id());
    EXPECT_EQ(repository_->AllEditions().size(), 1U);
    EXPECT_EQ(repository_->Snapshots()[0].file, result.record.file);
    EXPECT_EQ(result.record.decoded_tags().labels, std::vector<std::string>{"mine"});
    return result.record.decoded_tags().expires_at;
  };
  EXPECT_EQ(take(now + 1500), now + 1000);  // long enough
  EXPECT_EQ(take(now + 500), now + 1000);   // never sooner
  EXPECT_EQ(take(now + 9000), now + 9000);
  EXPECT_EQ(take(std::nullopt), std::nullopt);
  EXPECT_EQ(take(now + 9000), std::nullopt);
}

TEST_F(BackupTest, WhatIsTooDeepIsLeftOutByADirectoryThatFits) {
  Write(work_ / "a", "1");
  const std::string name(200, 'd');
  const int back = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(back, 0);
  fs::current_path(work_);
  for (int i = 0; i < 25; ++i) {
    ASSERT_EQ(::mkdir(name.c_str(), 0755), 0);
    ASSERT_EQ(::chdir(name.c_str()), 0);
  }
  ASSERT_EQ(::fchdir(back), 0);
  ::close(back);
  const BackupResult result = Take();
  EXPECT_EQ(result.skipped, 1U);
  ASSERT_EQ(result.record.excludes.size(), 1U);
  EXPECT_LE(result.record.excludes[0].size(), 4000U);
  EXPECT_TRUE(result.record.excludes[0].starts_with(work_.string() + "/" + name + "/" + name));
}

TEST_F(BackupTest, TheParentIsOfTheSameSandbox) {
  Write(work_ / "a", Noise(5000, 1));
  Take();
  BackupOptions other = Options();
  other.tags.sandbox = "other";
  BackupResult result = Take(other);
  EXPECT_FALSE(result.record.parent);
  EXPECT_EQ(result.files_changed, 1U);
  EXPECT_EQ(result.record.summary->data_blobs, 0U);  // but stored once
  EXPECT_THAT(result.bytes_added, Lt(1000U));
}

TEST_F(BackupTest, AMovedFileIsStoredOnce) {
  Write(work_ / "a", Noise(5 << 20, 1));
  Take();
  fs::create_directory(work_ / "sub");
  fs::rename(work_ / "a", work_ / "sub/b");
  BackupResult result = Take();
  EXPECT_EQ(result.files_changed, 1U);
  EXPECT_EQ(result.record.summary->data_blobs, 0U);
  EXPECT_THAT(result.bytes_added, Lt(10'000U));
}

TEST_F(BackupTest, AChangeInTheMiddleOfALargeFile) {
  std::string data = Noise(64 << 20, 2);
  Write(work_ / "large", data);
  Take();
  data.replace(30 << 20, 1 << 20, Noise(1 << 20, 3));
  Write(work_ / "large", data);
  EXPECT_THAT(Take().bytes_added, AllOf(Gt(1U << 20), Lt(8U << 20)));
}

TEST_F(BackupTest, ExcludedPathsAreNotThere) {
  fs::create_directory(work_ / "node_modules");
  Write(work_ / "node_modules/x", "x");
  Write(work_ / "a", "a");
  BackupOptions options = Options();
  options.exclude = {(work_ / "node_modules").string()};
  EXPECT_EQ(Take(options).files, 1U);
}

TEST_F(BackupTest, AnEmptyFileNeedNotBeRead) {
  for (int i = 0; i < 1000; ++i) Write(work_ / std::to_string(i), "");
  BackupResult result = Take();
  EXPECT_EQ(result.files, 1000U);
  EXPECT_EQ(result.files_changed, 0U);
}

TEST_F(BackupTest, ASparseFileCostsNothing) {
  int fd = open((work_ / "sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(ftruncate(fd, 10LL << 30), 0);
  ASSERT_EQ(pwrite(fd, "here", 4, (5LL << 30) + 12345), 4);
  close(fd);
  auto began = std::chrono::steady_clock::now();
  BackupResult result = Take();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(result.bytes_total, 10ULL << 30);
  EXPECT_THAT(result.bytes_added, Lt(4U << 20));
}

TEST_F(BackupTest, ProgressAndPhases) {
  for (int i = 0; i < 50; ++i) Write(work_ / std::to_string(i), Noise(10'000, i));
  std::vector<std::string> phases;
  Progress last;
  std::mutex mutex;
  BackupOptions options = Options();
  options.on_progress = [&](const Progress& progress) {
    std::lock_guard lock(mutex);
    if (phases.empty() || phases.back() != progress.phase) phases.emplace_back(progress.phase);
    last = progress;
  };
  BackupResult result = Take(options);
  EXPECT_THAT(phases, ElementsAre("lock", "walk", "read", "store"));
  EXPECT_EQ(last.files_done, 50U);
  EXPECT_EQ(last.files_total, 50U);
  EXPECT_EQ(last.bytes_done, 500'000U);
  EXPECT_EQ(last.bytes_total, 500'000U);
  ASSERT_EQ(result.phases.size(), 4U);
  EXPECT_EQ(result.phases[3].first, "store");
}

TEST_F(BackupTest, NoSuchDirectory) {
  BackupOptions options = Options();
  options.dir = dir_ / "missing";
  auto result = Try(options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNotFound);
  EXPECT_THAT(result.error().message, testing::HasSubstr("missing"));
  EXPECT_THAT(repository_->Snapshots(), IsEmpty());
}

TEST_F(BackupTest, StoppedAtAnyMoment) {
  for (int i = 0; i < 300; ++i) Write(work_ / std::to_string(i), Noise(20'000, i));
  Write(work_ / "large", Noise(20 << 20, 9));
  for (int delay : {0, 1, 3, 10, 20, 40, 80}) {
    std::stop_source source;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      source.request_stop();
    });
    BackupOptions options = Options();
    options.stop = source.get_token();
    auto result = Try(options);
    if (!result) EXPECT_EQ(result.error().code, Code::kCancelled) << result.error().message;
  }
  EXPECT_EQ(Take().files, 301U);
  EXPECT_TRUE(fs::is_empty(repository_dir_ / "locks"));
  if (HasRestic()) CheckWithRestic();
}

}  // namespace
}  // namespace atl::snapshot
