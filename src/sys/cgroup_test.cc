// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "sys/fd.h"

namespace atl::sys {
namespace {

class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be root";
    auto tree = CgroupTree::Open(fmt::format("atoll-sys-test-{}", ::getpid()));
    ASSERT_TRUE(tree) << tree.error().message;
    tree_ = *std::move(tree);
  }
  void TearDown() override {
    if (IsSkipped()) return;
    for (const auto& name : *tree_.List()) EXPECT_TRUE(tree_.Find(name).Remove());
    EXPECT_TRUE(tree_.RemoveRoot());
  }

  static pid_t Sleeper() {
    pid_t pid = -1;
    char program[] = "sleep";
    char time[] = "100";
    char* argv[] = {program, time, nullptr};
    EXPECT_EQ(0, ::posix_spawnp(&pid, "sleep", nullptr, nullptr, argv, nullptr));
    return pid;
  }

  CgroupTree tree_;
};

TEST_F(CgroupTest, MakesLimitsCountsAndRemoves) {
  auto group = tree_.Create("one");
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_TRUE(tree_.Create("one")) << "twice is once";
  ASSERT_TRUE(group->SetLimits({.memory_bytes = 64U << 20U, .cpus = 0.5, .pids = 10}));
  ASSERT_TRUE(group->SetLimits({.memory_bytes = 128U << 20U})) << "up";
  ASSERT_TRUE(group->SetLimits({.memory_bytes = 32U << 20U})) << "and down";
  auto files = group->OpenAgentProcs();
  ASSERT_TRUE(files);
  EXPECT_EQ(tree_.hierarchies(), files->size());
  EXPECT_THAT(*tree_.List(), testing::ElementsAre("one"));
  auto usage = group->Usage();
  ASSERT_TRUE(usage);
  EXPECT_EQ(0U, usage->oom_kills);
  EXPECT_TRUE(group->Remove());
  EXPECT_TRUE(group->Remove());
  EXPECT_TRUE(tree_.List()->empty());
  EXPECT_EQ(Code::kNotFound, group->Usage().error().code);
}

TEST_F(CgroupTest, EndsEveryProcessEvenFrozenOnes) {
  auto group = tree_.Create("two");
  ASSERT_TRUE(group);
  pid_t pid = Sleeper();
  auto files = group->OpenAgentProcs();
  ASSERT_TRUE(files);
  std::string number = fmt::format("{}", pid);
  for (const Fd& file : *files) ASSERT_TRUE(WriteAll(file.get(), number));
  EXPECT_THAT(*group->Processes(), testing::ElementsAre(pid));
  EXPECT_TRUE(group->Freeze(true));
  EXPECT_TRUE(group->Freeze(false));
  EXPECT_TRUE(group->Freeze(true));
  // Somebody has to reap it, or it never leaves.
  ::signal(SIGCHLD, SIG_IGN);
  auto killed = group->Kill();
  EXPECT_TRUE(killed) << killed.error().message;
  EXPECT_TRUE(group->Processes()->empty());
  ::signal(SIGCHLD, SIG_DFL);
}

TEST_F(CgroupTest, NothingRunsOnceItIsFrozen) {
  auto group = tree_.Create("three");
  ASSERT_TRUE(group);
  EXPECT_TRUE(group->Freeze(true)) << "an empty group stands still";
  EXPECT_TRUE(group->Freeze(false));
  // Counts as fast as it can, where we see it.
  auto* count = static_cast<std::atomic<uint64_t>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(MAP_FAILED, static_cast<void*>(count));
  std::vector<pid_t> pids;
  for (int i = 0; i < 4; ++i) {
    pids.push_back(::fork());
    if (pids.back() == 0) {
      for (;;) ++*count;
    }
  }
  auto files = group->OpenWorkProcs();
  ASSERT_TRUE(files);
  for (pid_t pid : pids) {
    for (const Fd& file : *files) ASSERT_TRUE(WriteAll(file.get(), fmt::format("{}", pid)));
  }
  for (int round = 0; round < 20; ++round) {
    auto frozen = group->Freeze(true);
    ASSERT_TRUE(frozen) << frozen.error().message;
    uint64_t before = *count;
    ::usleep(2'000);
    EXPECT_EQ(before, *count);
    ASSERT_TRUE(group->Freeze(false));
    ::usleep(1'000);
  }
  for (pid_t pid : pids) ::kill(pid, SIGKILL);
  for (pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  ::munmap(static_cast<void*>(count), 4096);
}

TEST_F(CgroupTest, InspectingMakesNothing) {
  auto tree = CgroupTree::Inspect(fmt::format("atoll-sys-test-{}-never", ::getpid()));
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ(tree_.mode(), tree->mode());
  EXPECT_TRUE(tree->List()->empty());
  EXPECT_TRUE(tree->RemoveRoot()) << "there is none";
}

}  // namespace
}  // namespace atl::sys
