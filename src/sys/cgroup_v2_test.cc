// SPDX-License-Identifier: Apache-2.0
// cgroup v2 on a tree of plain files: where groups are made and what is written to them. A kernel
// fills a new group with control files; here the test does.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "sys/cgroup.h"
#include "sys/fd.h"

namespace atl::sys {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

constexpr char kEnabled[] = "+memory +pids +cpu +io";

class CgroupV2Test : public testing::Test {
 protected:
  CgroupV2Test() {
    std::string pattern = "/tmp/atoll-cgroup-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    host_ = {.mount_point = dir_ + "/cgroup", .proc = dir_ + "/proc"};
    fs::create_directories(dir_ + "/proc/self");
    Write(dir_ + "/proc/self/mountinfo",
          fmt::format("30 24 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
                      host_.mount_point));
    SetOwn("/user.slice/session-1.scope");
    MakeGroup("");
  }
  ~CgroupV2Test() override { fs::remove_all(dir_); }

  static void Write(const std::string& path, std::string_view text) {
    auto written = WriteFile(path, text);
    EXPECT_TRUE(written) << written.error().message;
  }
  static std::string Read(const std::string& path) {
    auto text = ReadFile(path);
    return text ? *text : "-";
  }
  void SetOwn(const std::string& group) {
    Write(dir_ + "/proc/self/cgroup", fmt::format("0::{}\n", group));
  }
  std::string Path(const std::string& group) const { return host_.mount_point + group; }
  void MakeGroup(const std::string& group,
                 std::string_view controllers = "cpuset cpu io memory pids") {
    fs::create_directories(Path(group));
    Write(Path(group) + "/cgroup.controllers", fmt::format("{}\n", controllers));
    Write(Path(group) + "/cgroup.procs", "");
  }
  // A control file of the sandbox's `work` leaf.
  std::string InWork(const std::string& file) const {
    return (fs::path(Path("/atoll/one")) / "work" / file).string();
  }
  // As the top of a tree in which systemd marks `group` as handed over. False: no such attributes.
  bool Delegate(const std::string& group) {
    MakeGroup(group);
    return ::setxattr(Path(group).c_str(), "trusted.delegate", "1", 1, 0) == 0 ||
           ::setxattr(Path(group).c_str(), "user.delegate", "1", 1, 0) == 0;
  }
  // A sandbox's groups below `root`, with their control files.
  Cgroup MakeSandbox(const std::string& root = "/atoll") {
    MakeGroup(root);
    MakeGroup(root + "/one");
    auto tree = CgroupTree::Open("atoll", host_);
    EXPECT_TRUE(tree) << tree.error().message;
    auto group = tree->Create("one");
    EXPECT_TRUE(group) << group.error().message;
    MakeGroup(root + "/one/agent");
    MakeGroup(root + "/one/work");
    return *group;
  }

  std::string dir_;
  CgroupHost host_;
};

TEST_F(CgroupV2Test, MakesTheLeavesAndHandsControllersDown) {
  Cgroup group = MakeSandbox();
  EXPECT_EQ("/atoll/one/work", group.work_path());
  EXPECT_TRUE(fs::is_directory(Path("/atoll/one/work")));
  EXPECT_TRUE(fs::is_directory(Path("/atoll/one/agent")));
  EXPECT_EQ(kEnabled, Read(Path("/cgroup.subtree_control")));
  EXPECT_EQ(kEnabled, Read(Path("/atoll/cgroup.subtree_control")));
  EXPECT_EQ(kEnabled, Read(Path("/atoll/one/cgroup.subtree_control")));
  // A group with processes may hand nothing down.
  EXPECT_FALSE(fs::exists(InWork("cgroup.subtree_control")));
  EXPECT_FALSE(fs::exists(Path("/atoll/one/agent/cgroup.subtree_control")));

  auto tree = CgroupTree::Inspect("atoll", {}, host_);
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ(CgroupMode::kV2, tree->mode());
  EXPECT_EQ(1U, tree->hierarchies());
  EXPECT_THAT(tree->controllers(), ElementsAre("memory", "pids", "cpu", "io", "freezer"));
  EXPECT_THAT(*tree->List(), ElementsAre("one"));
  EXPECT_EQ(1U, group.OpenAgentProcs()->size());
}

TEST_F(CgroupV2Test, AHostWithoutAControllerIsRefused) {
  MakeGroup("", "cpuset cpu io memory");
  auto tree = CgroupTree::Open("atoll", host_);
  ASSERT_FALSE(tree);
  EXPECT_EQ(Code::kFailedPrecondition, tree.error().code);
  EXPECT_TRUE(tree.error().message.contains("pids")) << tree.error().message;
  EXPECT_FALSE(fs::exists(Path("/atoll")));
}

TEST_F(CgroupV2Test, LimitsApplyToWorkAlone) {
  Cgroup group = MakeSandbox();
  std::string work = Path("/atoll/one/work");
  Write(work + "/memory.swap.max", "max\n");
  ASSERT_TRUE(group.SetLimits({.memory_bytes = 64U << 20U, .cpus = 1.5, .pids = 100}));
  EXPECT_EQ("67108864", Read(work + "/memory.max"));
  EXPECT_EQ("0", Read(work + "/memory.swap.max"));
  EXPECT_EQ("100", Read(work + "/pids.max"));
  EXPECT_EQ("150000 100000", Read(work + "/cpu.max"));
  for (const char* file : {"memory.max", "pids.max", "cpu.max"}) {
    EXPECT_FALSE(fs::exists(Path("/atoll/one/") + file)) << file;
    EXPECT_FALSE(fs::exists(Path("/atoll/one/agent/") + file)) << file;
  }
  // The kernel takes no quota below a millisecond.
  ASSERT_TRUE(group.SetLimits({.cpus = 0.001}));
  EXPECT_EQ("1000 100000", Read(work + "/cpu.max"));
  EXPECT_EQ("100", Read(work + "/pids.max")) << "0 leaves a limit as it is";
}

TEST_F(CgroupV2Test, WeightsAreOfTheWholeSandbox) {
  Cgroup group = MakeSandbox();
  std::string whole = Path("/atoll/one");
  ASSERT_TRUE(group.SetLimits({.weight = 300}));
  EXPECT_FALSE(fs::exists(whole + "/cpu.weight")) << "only where the kernel offers it";
  Write(whole + "/cpu.weight", "100\n");
  Write(whole + "/io.weight", "default 100\n");
  ASSERT_TRUE(group.SetLimits({.weight = 300}));
  EXPECT_EQ("300", Read(whole + "/cpu.weight"));
  EXPECT_EQ("default 300", Read(whole + "/io.weight"));
}

TEST_F(CgroupV2Test, WhatStandsStillMayBeSwappedAndWhatRunsMayNot) {
  Cgroup group = MakeSandbox();
  std::string work = Path("/atoll/one/work");
  Write(work + "/memory.swap.max", "max\n");
  Write(work + "/memory.current", "12345678\n");
  Write(work + "/memory.reclaim", "");
  Write(work + "/cgroup.freeze", "1\n");
  ASSERT_TRUE(group.SetLimits({.memory_bytes = 64U << 20U}));
  ASSERT_TRUE(group.Reclaim());
  EXPECT_EQ("0", Read(work + "/memory.swap.max"));
  auto swaps = ReadFile("/proc/swaps", 4096);
  ASSERT_TRUE(swaps);
  bool has_swap = std::ranges::count(*swaps, '\n') > 1;
  EXPECT_EQ(has_swap ? "12345678 swappiness=60" : "", Read(work + "/memory.reclaim"));
}

TEST_F(CgroupV2Test, NoSwapFileWhereTheKernelCountsNone) {
  Cgroup group = MakeSandbox();
  ASSERT_TRUE(group.SetLimits({.memory_bytes = 64U << 20U}));
  EXPECT_FALSE(fs::exists(InWork("memory.swap.max")));
}

TEST_F(CgroupV2Test, ReadsUsageAndOutOfMemory) {
  Cgroup group = MakeSandbox();
  std::string work = Path("/atoll/one/work");
  auto empty = group.Usage();
  ASSERT_TRUE(empty);
  EXPECT_EQ(0U, empty->oom_kills);
  Write(work + "/memory.current", "12345678\n");
  Write(work + "/memory.stat", "anon 10\nfile 6000\ninactive_anon 7\ninactive_file 5000\n");
  Write(work + "/memory.events", "low 0\nhigh 4\nmax 17\noom 3\noom_kill 2\noom_group_kill 9\n");
  Write(work + "/cpu.stat", "usage_usec 987654\nuser_usec 600000\nsystem_usec 387654\n");
  Write(work + "/pids.current", "7\n");
  auto usage = group.Usage();
  ASSERT_TRUE(usage);
  EXPECT_EQ(12345678U, usage->memory_bytes);
  EXPECT_EQ(5000U, usage->inactive_file_bytes);
  EXPECT_EQ(2U, usage->oom_kills) << "neither oom nor oom_group_kill";
  EXPECT_EQ(987654U, usage->cpu_usec);
  EXPECT_EQ(7U, usage->pids);
  fs::remove_all(work);
  EXPECT_EQ(Code::kNotFound, group.Usage().error().code);
}

TEST_F(CgroupV2Test, FreezesWorkAloneAndWaitsUntilItStandsStill) {
  Cgroup group = MakeSandbox();
  std::string work = Path("/atoll/one/work");
  Write(work + "/cgroup.freeze", "0");
  Write(work + "/cgroup.events", "populated 1\nfrozen 0\n");
  std::atomic<bool> stopped = false;
  std::thread kernel([&] {
    for (int i = 0; i < 2000 && Read(work + "/cgroup.freeze") != "1"; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stopped = true;
    Write(work + "/cgroup.events", "populated 1\nfrozen 1\n");
  });
  auto frozen = group.Freeze(true);
  EXPECT_TRUE(stopped);
  kernel.join();
  ASSERT_TRUE(frozen) << frozen.error().message;
  EXPECT_EQ("1", Read(work + "/cgroup.freeze"));
  ASSERT_TRUE(group.Freeze(false));
  EXPECT_EQ("0", Read(work + "/cgroup.freeze"));
  EXPECT_FALSE(fs::exists(Path("/atoll/one/agent/cgroup.freeze")));
}

TEST_F(CgroupV2Test, WhatDoesNotStandStillGoesOn) {
  Cgroup group = MakeSandbox();
  std::string work = Path("/atoll/one/work");
  Write(work + "/cgroup.freeze", "0");
  Write(work + "/cgroup.events", "populated 1\nfrozen 0\n");
  auto frozen = group.Freeze(true, std::chrono::milliseconds(30));
  ASSERT_FALSE(frozen);
  EXPECT_EQ(Code::kTimeout, frozen.error().code);
  EXPECT_EQ("FREEZE_TIMEOUT", ReasonOf(frozen.error()));
  EXPECT_EQ("0", Read(work + "/cgroup.freeze"));
}

TEST_F(CgroupV2Test, AnEmptyGroupStandsStill) {
  Cgroup group = MakeSandbox();
  Write(InWork("cgroup.freeze"), "0");
  Write(InWork("cgroup.events"), "populated 0\nfrozen 0\n");
  EXPECT_TRUE(group.Freeze(true, std::chrono::milliseconds(30)));
}

TEST_F(CgroupV2Test, WithoutAFreezerThereIsNothingToThaw) {
  Cgroup group = MakeSandbox();
  EXPECT_TRUE(group.Freeze(false));
  auto frozen = group.Freeze(true);
  ASSERT_FALSE(frozen);
  EXPECT_EQ(Code::kFailedPrecondition, frozen.error().code);
  EXPECT_EQ("FREEZE_UNSUPPORTED", ReasonOf(frozen.error()));
  EXPECT_FALSE(fs::exists(InWork("cgroup.freeze")));
}

TEST_F(CgroupV2Test, KillsTheWholeGroupAtOnceWhereTheKernelCan) {
  Cgroup group = MakeSandbox();
  Write(Path("/atoll/one/cgroup.kill"), "");
  // No process has a number this high: one that is signalled nevertheless does no harm.
  Write(Path("/atoll/one/agent/cgroup.procs"), "2000000001\n");
  Write(InWork("cgroup.procs"), "2000000003\n2000000002\n0\n");
  EXPECT_THAT(*group.Processes(), ElementsAre(2000000001, 2000000002, 2000000003));
  std::thread kernel([&] {
    for (int i = 0; i < 2000 && Read(Path("/atoll/one/cgroup.kill")) != "1"; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (const char* leaf : {"agent", "work"}) {
      Write(Path(fmt::format("/atoll/one/{}/cgroup.procs", leaf)), "");
    }
  });
  auto killed = group.Kill();
  kernel.join();
  EXPECT_TRUE(killed) << killed.error().message;
  EXPECT_EQ("1", Read(Path("/atoll/one/cgroup.kill")));
}

// Before Linux 5.14 there is no cgroup.kill.
TEST_F(CgroupV2Test, KillsEachProcessOtherwise) {
  Cgroup group = MakeSandbox();
  pid_t pid = -1;
  char program[] = "sleep";
  char time[] = "100";
  char* argv[] = {program, time, nullptr};
  ASSERT_EQ(0, ::posix_spawnp(&pid, "sleep", nullptr, nullptr, argv, nullptr));
  Write(InWork("cgroup.procs"), fmt::format("{}\n", pid));
  int status = 0;
  std::thread kernel([&] {
    ::waitpid(pid, &status, 0);
    Write(InWork("cgroup.procs"), "");
  });
  auto killed = group.Kill();
  kernel.join();
  EXPECT_TRUE(killed) << killed.error().message;
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(CgroupV2Test, RemovesTheGroupsThenTheRoot) {
  Cgroup group = MakeSandbox();
  // A kernel's control files go with their group.
  for (const char* path : {"/atoll/one/work", "/atoll/one/agent", "/atoll/one", "/atoll"}) {
    for (const auto& entry : fs::directory_iterator(Path(path))) {
      if (entry.is_regular_file()) fs::remove(entry.path());
    }
  }
  auto removed = group.Remove();
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(group.Remove()) << "twice is once";
  auto tree = CgroupTree::Inspect("atoll", {}, host_);
  EXPECT_TRUE(tree->List()->empty());
  EXPECT_TRUE(tree->RemoveRoot());
  EXPECT_FALSE(fs::exists(Path("/atoll")));
}

TEST_F(CgroupV2Test, StaysWithinWhatSystemdDelegated) {
  constexpr char kUnit[] = "/system.slice/atoll.service";
  if (!Delegate(kUnit)) GTEST_SKIP() << "no extended attributes in /tmp";
  SetOwn(kUnit);
  Cgroup group = MakeSandbox(std::string(kUnit) + "/atoll");
  EXPECT_EQ("/system.slice/atoll.service/atoll/one/work", group.work_path());
  EXPECT_TRUE(fs::is_directory(Path("/system.slice/atoll.service/atoll/one/work")));
  EXPECT_EQ(kEnabled, Read(Path(kUnit) + "/cgroup.subtree_control"));
  EXPECT_FALSE(fs::exists(Path("/atoll"))) << "the top is systemd's";
  EXPECT_FALSE(fs::exists(Path("/cgroup.subtree_control")));
  // A daemon that has stepped aside finds the same groups, and so does one that looks at it.
  SetOwn(std::string(kUnit) + "/daemon");
  auto aside = CgroupTree::Open("atoll", host_);
  ASSERT_TRUE(aside) << aside.error().message;
  EXPECT_EQ(group.work_path(), aside->Find("one").work_path());
  EXPECT_EQ(kUnit, aside->top());
  SetOwn("/user.slice");
  auto seen = CgroupTree::Inspect("atoll", aside->top(), host_);
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_THAT(*seen->List(), ElementsAre("one"));
}

// What systemd starts it attaches to the unit's own group, which may then hand nothing down.
TEST_F(CgroupV2Test, TheUnitOfTheSandboxesIsTheirs) {
  constexpr char kSandboxes[] = "/system.slice/atoll-sandboxes.service";
  MakeGroup("/system.slice/atoll.service");
  if (!Delegate(kSandboxes)) GTEST_SKIP() << "no extended attributes in /tmp";
  SetOwn("/system.slice/atoll.service");
  Cgroup group = MakeSandbox(std::string(kSandboxes) + "/atoll");
  EXPECT_EQ("/system.slice/atoll-sandboxes.service/atoll/one/work", group.work_path());
  EXPECT_FALSE(fs::exists(Path("/system.slice/atoll.service/cgroup.subtree_control")));
  EXPECT_FALSE(fs::exists(Path("/system.slice/atoll.service/daemon")));
  EXPECT_EQ(Path(kSandboxes) + "/atoll/one/work", group.work_dir());
  // It is made again with the unit, when somebody has ended that. Plain files have no controllers.
  auto tree = CgroupTree::Open("atoll", host_);
  ASSERT_TRUE(tree) << tree.error().message;
  fs::remove_all(Path(kSandboxes) + "/atoll");
  fs::remove(Path(kSandboxes) + "/cgroup.subtree_control");
  EXPECT_FALSE(tree->Create("two"));
  EXPECT_EQ(kEnabled, Read(Path(kSandboxes) + "/cgroup.subtree_control"));
}

TEST_F(CgroupV2Test, AUnitWithoutDelegationUsesTheTop) {
  MakeGroup("/system.slice/atoll.service");
  SetOwn("/system.slice/atoll.service");
  EXPECT_EQ("/atoll/one/work", MakeSandbox().work_path());
}

}  // namespace
}  // namespace atl::sys
