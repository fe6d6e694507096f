// SPDX-License-Identifier: Apache-2.0
#include "oci/leaks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

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
  EXPECT_TRUE(FindLeaks(host.config(), one, one)->empty());
  EXPECT_TRUE(launcher.Adopt(kKept)) << "the other one was not touched";
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

}  // namespace
}  // namespace atl::oci
