// SPDX-License-Identifier: Apache-2.0
#include "oci/leaks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "oci/test_host.h"

namespace atl::oci {
namespace {

constexpr char kKept[] = "00000000000000b1";
constexpr char kLost[] = "00000000000000b2";
constexpr uint32_t kBase = 0x10000000;

std::set<std::string> Kinds(const std::vector<Leak>& leaks) {
  std::set<std::string> kinds;
  for (const Leak& leak : leaks) kinds.insert(leak.kind);
  return kinds;
}

TEST(Leaks, FindsAndRemovesWhatNobodyKnows) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  Launcher& launcher = host.launcher();
  auto kept = launcher.Launch(host.Spec(kKept, kBase, "Inside.ZWaits"));
  auto lost = launcher.Launch(host.Spec(kLost, kBase + 65536, "Inside.ZWaits"));
  ASSERT_TRUE(kept && lost);
  std::set<std::string> both = {kKept, kLost};
  std::set<std::string> one = {kKept};

  auto leaks = FindLeaks(host.config(), both, both);
  ASSERT_TRUE(leaks) << leaks.error().message;
  EXPECT_TRUE(leaks->empty()) << leaks->front().kind << " " << leaks->front().what;

  leaks = FindLeaks(host.config(), one, one);
  ASSERT_TRUE(leaks);
  EXPECT_EQ(Kinds(*leaks), (std::set<std::string>{"process", "cgroup", "container", "directory"}));
  for (const Leak& leak : *leaks) EXPECT_EQ(kLost, leak.owner) << leak.what;

  // A stopped sandbox that still has a container, and a build that was cut off.
  std::filesystem::create_directories(host.config().state_dir + "/images/.x.0.tmp/rootfs");
  ASSERT_TRUE(sys::MakeDirs(launcher.RunDir("nonsense")));
  leaks = FindLeaks(host.config(), both, one);
  ASSERT_TRUE(leaks);
  EXPECT_TRUE(Kinds(*leaks).contains("temporary"));
  auto removed = RemoveLeaks(launcher, host.config(), both, one);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(TestHost::WaitForEnd(*lost, 1000));
  EXPECT_TRUE(std::filesystem::exists(launcher.LayerDir(kLost))) << "it may start again";
  EXPECT_TRUE(FindLeaks(host.config(), both, one)->empty());

  ASSERT_TRUE(RemoveLeaks(launcher, host.config(), one, one));
  EXPECT_FALSE(std::filesystem::exists(launcher.LayerDir(kLost)));
  leaks = FindLeaks(host.config(), one, one);
  ASSERT_EQ(1U, leaks->size());
  EXPECT_EQ("lost", leaks->front().kind);
  EXPECT_TRUE(std::filesystem::exists(leaks->front().what + "/upper")) << "files are kept";
  EXPECT_TRUE(launcher.Adopt(kKept)) << "the other one was not touched";
}

// Things of one owner that cannot be removed keep nothing of the others.
TEST(Leaks, WhatResistsKeepsNothingElse) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  const LauncherConfig& config = host.config();
  Launcher& launcher = host.launcher();
  std::set<std::string> none;
  // Two, before and behind the others by name, whose files have no place to be set aside in.
  constexpr char kFirst[] = "0000000000000001";
  constexpr char kLast[] = "ffffffffffffffff";
  for (std::string iid : {std::string(kFirst), std::string(kLast)}) {
    std::filesystem::create_directories(config.state_dir + "/sandboxes/" + iid + "/upper");
  }
  ASSERT_TRUE(sys::WriteFile(config.state_dir + "/lost", ""));
  ASSERT_TRUE(sys::MakeDirs(launcher.RunDir(kLost)));
  ASSERT_TRUE(sys::MakeDirs(config.state_dir + "/images/.x.0.tmp/rootfs"));
  auto removed = RemoveLeaks(launcher, config, none, none);
  ASSERT_FALSE(removed);
  EXPECT_NE(removed.error().message.find(kFirst), std::string::npos) << removed.error().message;
  EXPECT_NE(removed.error().message.find(kLast), std::string::npos) << removed.error().message;
  EXPECT_FALSE(std::filesystem::exists(launcher.RunDir(kLost)));
  EXPECT_FALSE(std::filesystem::exists(config.state_dir + "/images/.x.0.tmp"));
  ASSERT_TRUE(sys::RemoveTree(config.state_dir + "/lost"));
  EXPECT_TRUE(RemoveLeaks(launcher, config, none, none));
  EXPECT_FALSE(std::filesystem::exists(config.state_dir + "/sandboxes/" + kLast));
}

// A program with the command line of a call of crun, run by `user`. Ended with the object.
class LooksLikeCrun {
 public:
  LooksLikeCrun(const LauncherConfig& config, uid_t user, const std::string& iid) {
    const std::string root = config.run_dir + "/crun";
    pid_ = ::fork();
    if (pid_ == 0) {
      if (::setresuid(user, user, user) != 0) ::_exit(1);
      ::execl("/bin/sh", "crun", "-c", "kill -STOP $$; :", "--root", root.c_str(), "delete",
              iid.c_str(), nullptr);
      ::_exit(1);
    }
    const std::string line = fmt::format("/proc/{}/cmdline", pid_);
    for (int i = 0; i < 1000; ++i) {
      auto text = sys::ReadFile(line, 65536);
      if (text && text->contains("--root")) break;
      ::usleep(10'000);
    }
  }
  LooksLikeCrun(const LooksLikeCrun&) = delete;
  LooksLikeCrun& operator=(const LooksLikeCrun&) = delete;
  ~LooksLikeCrun() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Leak leak(const std::string& iid) const {
    return {.kind = "process", .what = std::to_string(pid_), .owner = iid};
  }

 private:
  pid_t pid_ = -1;
};

TEST(Leaks, OnlyTheHostsRootCallsCrun) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  LooksLikeCrun call(host.config(), 0, kLost);
  LooksLikeCrun claims(host.config(), kBase, kLost);
  LooksLikeCrun leads_out(host.config(), 0, "../" + std::string(kKept));
  auto leaks = FindLeaks(host.config(), {}, {});
  ASSERT_TRUE(leaks) << leaks.error().message;
  EXPECT_THAT(*leaks, testing::ElementsAre(call.leak(kLost)));
}

// What kill -9 of the daemon in the middle of a launch leaves.
TEST(Leaks, SeesAMountThatWasNotDetached) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  Launcher& launcher = host.launcher();
  std::string target = launcher.RunDir(kLost) + "/rootfs";
  ASSERT_TRUE(sys::MakeDirs(target));
  auto copy = sys::CloneMount(host.dir());
  ASSERT_TRUE(copy);
  ASSERT_TRUE(sys::AttachMount(copy->get(), target));
  ASSERT_TRUE(launcher.cgroups().Create(kLost));
  auto leaks = FindLeaks(host.config(), {}, {});
  ASSERT_TRUE(leaks);
  EXPECT_EQ(Kinds(*leaks), (std::set<std::string>{"mount", "cgroup", "directory"}));
  ASSERT_TRUE(RemoveLeaks(launcher, host.config(), {}, {}));
  EXPECT_TRUE(FindLeaks(host.config(), {}, {})->empty());
  EXPECT_TRUE(std::filesystem::exists(host.image_rootfs())) << "only the mount is gone";
}

std::set<std::string> Temporaries(const LauncherConfig& config) {
  auto leaks = FindLeaks(config, {}, {});
  EXPECT_TRUE(leaks);
  std::set<std::string> paths;
  for (const Leak& leak : *leaks) {
    EXPECT_EQ("temporary", leak.kind) << leak.what;
    paths.insert(leak.what);
  }
  return paths;
}

class LeaksOnDisk : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ATOLL_NEEDS_ROOT();
    host_.emplace();
    LauncherConfig& config = host_->mutable_config();
    if (GetParam()) {
      config.snapshots_dir = host_->dir() + "/elsewhere/snapshots";
      config.opencode_dir = host_->dir() + "/elsewhere/opencode";
    }
    std::string base = GetParam() ? host_->dir() + "/elsewhere" : config.state_dir;
    snapshots_ = base + "/snapshots";
    opencode_ = base + "/opencode";
    std::filesystem::create_directories(snapshots_);
    std::filesystem::create_directories(opencode_);
    std::filesystem::create_directories(config.run_dir);
  }
  void RunningDaemon(int pid) {
    ASSERT_TRUE(sys::WriteFile(host_->config().run_dir + "/lock", fmt::format("{}", pid)));
  }

  std::optional<TestHost> host_;
  std::string snapshots_;
  std::string opencode_;
};

TEST_P(LeaksOnDisk, AnUploadIsOneUnlessTheDaemonHasItOpen) {
  RunningDaemon(::getpid());
  std::filesystem::create_directories(snapshots_ + "/tmp");
  std::string path = snapshots_ + "/tmp/upload-1-0";
  auto file = sys::Open(path, O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(file);
  ASSERT_TRUE(sys::WriteFile(snapshots_ + "/0123.blob", "a snapshot"));
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
  ASSERT_TRUE(RemoveLeaks(host_->launcher(), host_->config(), {}, {}));
  EXPECT_TRUE(std::filesystem::exists(path)) << "it is being written";
  file->Reset();
  EXPECT_THAT(Temporaries(host_->config()), testing::ElementsAre(path));
  ASSERT_TRUE(RemoveLeaks(host_->launcher(), host_->config(), {}, {}));
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(snapshots_ + "/0123.blob"));
}

TEST_P(LeaksOnDisk, AFetchIsOneUnlessItHoldsItsLock) {
  std::string path = opencode_ + "/.fetch-abc123";
  std::filesystem::create_directories(path + "/node_modules");
  std::filesystem::create_directories(opencode_ + "/1.2.3");
  auto lock = sys::Open(opencode_ + "/.lock", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(lock);
  ASSERT_EQ(0, ::flock(lock->get(), LOCK_EX | LOCK_NB));
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
  ASSERT_TRUE(RemoveLeaks(host_->launcher(), host_->config(), {}, {}));
  EXPECT_TRUE(std::filesystem::exists(path)) << "it is being fetched";
  lock->Reset();
  EXPECT_THAT(Temporaries(host_->config()), testing::ElementsAre(path));
  ASSERT_TRUE(RemoveLeaks(host_->launcher(), host_->config(), {}, {}));
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(opencode_ + "/1.2.3"));
}

TEST_P(LeaksOnDisk, AnImageOnItsWayIsOneUnlessItIsLocked) {
  std::string path = host_->config().state_dir + "/images/.x.0.tmp";
  std::filesystem::create_directories(path + "/rootfs");
  auto lock = sys::Open(path, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(lock);
  ASSERT_EQ(0, ::flock(lock->get(), LOCK_EX | LOCK_NB));
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
  lock->Reset();
  EXPECT_THAT(Temporaries(host_->config()), testing::ElementsAre(path));
}

// flock ends with its holder: the file that a killed daemon leaves keeps nobody out.
TEST_P(LeaksOnDisk, TheLockFileOfADeadDaemonIsNone) {
  RunningDaemon(0x7ffffff0);
  EXPECT_THAT(Temporaries(host_->config()), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(DefaultAndConfigured, LeaksOnDisk, testing::Bool());

}  // namespace
}  // namespace atl::oci
