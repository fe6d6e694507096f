// SPDX-License-Identifier: Apache-2.0
// The same repository for restic and for us.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "blob/files.h"
#include "repository/test_repository.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

struct Ran {
  int status = 0;
  std::string output;
};

class ResticTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v restic >/dev/null 2>&1") != 0) GTEST_SKIP() << "no restic here";
    store_ = Must(blob::OpenFiles(repository_));
  }

  std::string Command(const std::string& arguments) const {
    return "RESTIC_PASSWORD='correct horse' RESTIC_CACHE_DIR='" + dir_.path() +
           "/cache' restic -r '" + repository_ + "' " + arguments;
  }
  Ran Restic(const std::string& arguments) const {
    Ran ran;
    FILE* pipe = ::popen((Command(arguments) + " 2>&1").c_str(), "r");
    std::array<char, 4096> buffer{};
    size_t got = 0;
    while ((got = ::fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
      ran.output.append(buffer.data(), got);
    }
    ran.status = WEXITSTATUS(::pclose(pipe));
    return ran;
  }
  void Write(const std::string& name, const std::string& data) const {
    std::filesystem::create_directories(source_);
    std::ofstream(source_ + "/" + name, std::ios::binary) << data;
  }

  // A snapshot of one file.
  static SnapshotRecord SaveFile(Repository& repository, const std::string& data) {
    const auto lock = Must(repository.LockShared());
    auto session = Must(repository.Begin());
    Node node;
    node.name = "file";
    node.content = {Must(session->Save(BlobType::kData, data)).id};
    node.size = data.size();
    node.permissions = 0644;
    node.links = 1;
    std::string tree;
    TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
      tree += piece;
      return {};
    });
    Must(encoder.Add(node));
    Must(encoder.Finish());
    const auto saved = Must(session->Save(BlobType::kTree, tree));
    Must(session->Flush());
    SnapshotRecord record = NewRecord(saved.id, {"sandbox=demo"});
    Must(repository.SaveSnapshot(record));
    return record;
  }

  TestDir dir_;
  std::string repository_ = dir_.path() + "/repository";
  std::string source_ = dir_.path() + "/source";
  std::shared_ptr<blob::Store> store_;
};

TEST_F(ResticTest, ReadsWhatWeWrite) {
  Must(Repository::Init(*store_, TestOptions()));
  Ran ran = Restic("snapshots");
  EXPECT_EQ(ran.status, 0) << ran.output;
  const auto repository = MustOpen(store_);
  const std::string data = RandomBytes(1, 3U << 20U);
  const SnapshotRecord record = SaveFile(*repository, data);
  SaveFile(*repository, "another");
  ran = Restic("check --read-data");
  EXPECT_EQ(ran.status, 0) << ran.output;
  ran = Restic("snapshots --json");
  EXPECT_NE(ran.output.find(record.file.Hex()), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("sandbox=demo"), std::string::npos) << ran.output;
  ran = Restic("restore " + record.file.Hex() + " --target '" + dir_.path() + "/target'");
  EXPECT_EQ(ran.status, 0) << ran.output;
  std::ifstream restored(dir_.path() + "/target/file", std::ios::binary);
  EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(restored), {}) == data);
}

// One pack for data and trees, as on a remote store.
TEST_F(ResticTest, TakesPacksOfBothKinds) {
  const auto memory = NewStore(true);
  SaveFile(*MustOpen(memory), "content");
  ASSERT_EQ(memory->Keys("data/").size(), 1U);
  for (const std::string& key : memory->Keys()) Must(store_->Put(key, memory->At(key)));
  Ran ran = Restic("check --read-data");
  EXPECT_EQ(ran.status, 0) << ran.output;
  ran = Restic("dump latest file");
  EXPECT_EQ(ran.output, "content");
  ran = Restic("prune --max-unused 0");
  EXPECT_EQ(ran.status, 0) << ran.output;
  const auto repository = MustOpen(store_);
  Must(repository->Refresh());
  EXPECT_EQ(Must(repository->Load({.type = BlobType::kData, .id = Hash("content")})), "content");
}

TEST_F(ResticTest, WritesWhatWeRead) {
  Write("file", RandomBytes(2, 5U << 20U));
  Write("text", "text");
  ASSERT_EQ(Restic("init --repository-version 2").status, 0);
  const Ran ran = Restic("backup --tag sandbox=demo '" + source_ + "'");
  ASSERT_EQ(ran.status, 0) << ran.output;
  const auto repository = MustOpen(store_);
  Must(repository->Refresh());
  EXPECT_TRUE(repository->problems().empty());
  ASSERT_EQ(repository->Snapshots().size(), 1U);
  Id tree = repository->Snapshots()[0].tree;
  for (int depth = 0; depth < 10; ++depth) {
    const auto nodes = Must(repository->LoadTree(tree));
    ASSERT_FALSE(nodes->empty());
    if (nodes->size() == 1) {
      tree = nodes->at(0).subtree;
      continue;
    }
    std::string content;
    for (const Id& id : nodes->at(0).content) {
      content += Must(repository->Load({.type = BlobType::kData, .id = id}));
    }
    EXPECT_TRUE(content == RandomBytes(2, 5U << 20U));
    return;
  }
  FAIL() << "the tree is too deep";
}

TEST_F(ResticTest, IsKeptOutByOurExclusiveLock) {
  Must(Repository::Init(*store_, TestOptions()));
  const auto repository = MustOpen(store_);
  Write("file", "content");
  auto lock = Must(repository->LockExclusive());
  Ran ran = Restic("backup '" + source_ + "'");
  EXPECT_NE(ran.status, 0);
  EXPECT_NE(ran.output.find("already locked exclusively"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find(std::to_string(::getpid())), std::string::npos) << ran.output;
  ran = Restic("unlock");  // it sees that this process is there
  EXPECT_EQ(store_->List({.prefix = "locks/", .start_after = {}})->size(), 1U);
  lock.reset();
  lock = Must(repository->LockShared());
  ran = Restic("backup '" + source_ + "'");
  EXPECT_EQ(ran.status, 0) << ran.output;
  EXPECT_NE(Restic("prune").status, 0);
}

TEST_F(ResticTest, KeepsUsOutWhileItWorks) {
  Must(Repository::Init(*store_, TestOptions()));
  const auto repository = MustOpen(store_);
  // It waits for its standard input with a shared lock.
  FILE* backup = ::popen((Command("backup --stdin") + " >/dev/null 2>&1").c_str(), "w");
  ASSERT_NE(backup, nullptr);
  for (int i = 0; i < 500; ++i) {
    // A temporary name at first.
    const auto locks = Must(store_->List({.prefix = "locks/", .start_after = {}}));
    if (!locks.empty() && ParseKey(locks[0].key)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const auto refused = repository->LockExclusive();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "REPOSITORY_LOCKED");
  EXPECT_TRUE(repository->LockShared());
  std::fputs("content", backup);
  EXPECT_EQ(WEXITSTATUS(::pclose(backup)), 0);
  EXPECT_TRUE(repository->LockExclusive());
}

TEST_F(ResticTest, PruneBesideUsIsNoticed) {
  Must(Repository::Init(*store_, TestOptions()));
  const auto repository = MustOpen(store_);
  const SnapshotRecord first = SaveFile(*repository, RandomBytes(1, 1U << 20U));
  const std::string kept = RandomBytes(2, 1U << 20U);
  SaveFile(*repository, kept);
  const BlobHandle gone{.type = BlobType::kData, .id = Hash(RandomBytes(1, 1U << 20U))};
  ASSERT_TRUE(repository->Has(gone));
  const Ran ran = Restic("forget --prune --max-unused 0 " + first.file.Hex());
  ASSERT_EQ(ran.status, 0) << ran.output;
  const auto lock = Must(repository->LockShared());
  EXPECT_FALSE(repository->Has(gone));
  EXPECT_EQ(repository->Snapshots().size(), 1U);
  EXPECT_TRUE(Must(repository->Load({.type = BlobType::kData, .id = Hash(kept)})) == kept);
}

TEST_F(ResticTest, AcceptsAnIndexThatWeReplaced) {
  Must(Repository::Init(*store_, TestOptions()));
  const auto repository = MustOpen(store_);
  const SnapshotRecord first = SaveFile(*repository, "first");
  const SnapshotRecord second = SaveFile(*repository, "second");
  const BlobHandle data{.type = BlobType::kData, .id = Hash("first")};
  const BlobHandle tree{.type = BlobType::kTree, .id = first.tree};
  {
    const auto lock = Must(repository->LockExclusive());
    Must(repository->RemoveSnapshot(first.file));
    Must(repository->ReplaceIndex({repository->Find(data)->pack, repository->Find(tree)->pack}));
  }
  Ran ran = Restic("check --read-data");
  EXPECT_EQ(ran.status, 0) << ran.output;
  ran = Restic("dump " + second.file.Hex() + " file");
  EXPECT_EQ(ran.output, "second");
}

// A writer that is killed at any moment leaves rubbish and perhaps a lock, nothing else.
TEST_F(ResticTest, AKilledWriterHarmsNothing) {
  Must(Repository::Init(*store_, TestOptions()));
  std::mt19937 random(7);
  size_t snapshots = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t writer = ::fork();
    if (writer == 0) {
      const auto repository = MustOpen(Must(blob::OpenFiles(repository_)));
      for (uint64_t i = 0; i < 1000; ++i) {
        SaveFile(*repository, RandomBytes((1000U * round) + i, 300'000));
      }
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + (random() % 150)));
    ::kill(writer, SIGKILL);
    int status = 0;
    ::waitpid(writer, &status, 0);
    const auto repository = MustOpen(store_);
    Must(repository->RemoveOwnStaleLocks());
    const auto lock = Must(repository->LockExclusive());
    EXPECT_TRUE(repository->problems().empty());
    snapshots = repository->Snapshots().size();
    for (const SnapshotRecord& record : repository->Snapshots()) {
      const auto nodes = Must(repository->LoadTree(record.tree));
      Must(repository->Load({.type = BlobType::kData, .id = nodes->at(0).content.at(0)}));
    }
  }
  EXPECT_GT(snapshots, 10U);
  const Ran ran = Restic("check --read-data");
  EXPECT_EQ(ran.status, 0) << ran.output;
}

}  // namespace
}  // namespace atl::repository
