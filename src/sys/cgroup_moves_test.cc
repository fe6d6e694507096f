// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup_moves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "sys/mounts.h"

namespace atl::sys {
namespace {

std::string OptionsOf(const std::string& target) {
  auto mounts = ListMounts();
  if (!mounts) return {};
  for (const MountEntry& entry : *mounts) {
    if (entry.fs_type == "cgroup2" && entry.target == target) return entry.super_options;
  }
  return {};
}

TEST(CgroupMovesTest, AreFavoredAndTheOtherOptionsStay) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be root";
  std::string target;
  auto mounts = ListMounts();
  ASSERT_TRUE(mounts) << mounts.error().message;
  for (const MountEntry& entry : *mounts) {
    if (entry.fs_type == "cgroup2") target = entry.target;
  }
  if (target.empty()) GTEST_SKIP() << "no cgroup2 is mounted on this host";
  std::string before = OptionsOf(target);
  auto favored = FavorCgroupMoves();
  ASSERT_TRUE(favored) << favored.error().message;
  auto on = FavorsCgroupMoves();
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_TRUE(*on);
  std::string after = OptionsOf(target);
  EXPECT_THAT(after, testing::HasSubstr("favordynmods"));
  for (const char* option : {"nsdelegate", "memory_recursiveprot", "memory_localevents"}) {
    EXPECT_EQ(before.contains(option), after.contains(option)) << option;
  }
  EXPECT_TRUE(FavorCgroupMoves()) << "twice is once";
}

TEST(CgroupMovesTest, AHostWithoutCgroup2SaysSo) {
  std::string proc = testing::TempDir() + "/cgroup_moves";
  std::filesystem::create_directories(proc + "/self");
  std::ofstream(proc + "/self/mountinfo")
      << "30 1 0:26 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n";
  CgroupHost host{.mount_point = "/sys/fs/cgroup", .proc = proc};
  auto favored = FavorCgroupMoves(host);
  ASSERT_FALSE(favored);
  EXPECT_EQ("CGROUP2_MISSING", ReasonOf(favored.error()));
  auto on = FavorsCgroupMoves(host);
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_FALSE(*on);
  std::filesystem::remove_all(proc);
}

}  // namespace
}  // namespace atl::sys
