// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace atl::sandbox {
namespace {

TEST(PoolTest, WithoutATargetThereIsNoPool) {
  EXPECT_EQ(Wanted({.warm_target = 0}, 0), 0U);
  EXPECT_EQ(Wanted({.warm_target = 0, .min = 3}, 50), 0U);
}

TEST(PoolTest, DemandIsFollowedBetweenItsBounds) {
  PoolOptions options{.warm_target = 2};
  EXPECT_EQ(Wanted(options, 0), 2U);
  EXPECT_EQ(Wanted(options, 5), 5U);
  EXPECT_EQ(Wanted(options, 500), 8U);
  options.min = 1;
  options.max = 3;
  EXPECT_EQ(Wanted(options, 0), 1U);
  EXPECT_EQ(Wanted(options, 500), 3U);
  options.min = 6;
  EXPECT_EQ(Wanted(options, 0), 6U);
}

TEST(PoolTest, ARoundChangesNoMoreThanItsBatch) {
  PoolOptions options{.warm_target = 1, .scale_batch_size = 2};
  EXPECT_EQ(PoolChange(options, 5, 0, 0), 2);
  EXPECT_EQ(PoolChange(options, 5, 4, 0), 1);
  EXPECT_EQ(PoolChange(options, 5, 5, 0), 0);
  EXPECT_EQ(PoolChange(options, 1, 9, 0), -2);
}

TEST(PoolTest, NoMemberIsMadeBeyondTheBoundOfInstances) {
  PoolOptions options{.warm_target = 1, .max_instances = 6};
  EXPECT_EQ(PoolChange(options, 5, 2, 3), 1);
  EXPECT_EQ(PoolChange(options, 5, 2, 4), 0);
  EXPECT_EQ(PoolChange(options, 5, 2, 40), 0);
}

TEST(PoolTest, AHostWithoutRoomMakesNone) {
  PoolOptions options{.free_memory = 1ULL << 30U, .max_load = 1.5};
  HostLoad idle{.available_bytes = 4ULL << 30U, .load_per_cpu = 0.2};
  EXPECT_TRUE(HasHeadroom(options, idle));
  EXPECT_FALSE(HasHeadroom(options, {.available_bytes = 1ULL << 30U, .load_per_cpu = 0.2}));
  EXPECT_FALSE(HasHeadroom(options, {.available_bytes = 4ULL << 30U, .load_per_cpu = 1.6}));
  // Without OpenCode a member is small.
  HostLoad little{.available_bytes = (1ULL << 30U) + (64ULL << 20U), .load_per_cpu = 0.2};
  EXPECT_FALSE(HasHeadroom(options, little));
  options.opencode = false;
  EXPECT_TRUE(HasHeadroom(options, little));
  EXPECT_FALSE(IsShort(options, little));
  EXPECT_TRUE(IsShort(options, {.available_bytes = 500ULL << 20U, .load_per_cpu = 0}));
}

TEST(PoolTest, TheHostSaysHowLoadedItIs) {
  auto load = ReadHostLoad();
  ASSERT_TRUE(load) << load.error().message;
  EXPECT_GT(load->available_bytes, 1ULL << 20U);
  EXPECT_GE(load->load_per_cpu, 0);
}

TEST(PoolTest, DemandIsForgottenAfterAMinute) {
  Demand demand;
  auto start = Demand::Clock::now();
  demand.Note(start);
  demand.Note(start + std::chrono::seconds(30));
  EXPECT_EQ(demand.LastMinute(start + std::chrono::seconds(59)), 2U);
  EXPECT_EQ(demand.LastMinute(start + std::chrono::seconds(80)), 1U);
  EXPECT_EQ(demand.LastMinute(start + std::chrono::seconds(100)), 0U);
}

TEST(PoolTest, WhatTheLayerIsBoundedByCannotChange) {
  Limits made{.memory_bytes = 4ULL << 30U, .cpus = 1, .pids = 2048, .disk_bytes = 10};
  Limits wanted{.memory_bytes = 1ULL << 30U, .cpus = 2, .pids = 256, .disk_bytes = 10};
  EXPECT_TRUE(CanBecome(made, wanted, true));
  wanted.disk_bytes = 20;
  EXPECT_FALSE(CanBecome(made, wanted, true));
}

TEST(PoolTest, WhatItUsesAlreadyHasToFit) {
  Limits made{.memory_bytes = 4ULL << 30U, .cpus = 1, .pids = 2048};
  Limits small{.memory_bytes = 64ULL << 20U, .cpus = 1, .pids = 2048};
  EXPECT_FALSE(CanBecome(made, small, true));
  EXPECT_TRUE(CanBecome(made, small, false));
  EXPECT_FALSE(CanBecome(made, {.memory_bytes = 4ULL << 30U, .cpus = 1, .pids = 16}, true));
}

TEST(PoolTest, TheKeyTellsEverythingApartThatAMemberIsMadeOf) {
  char pattern[] = "/tmp/atoll-pool-test-XXXXXX";
  std::string dir = mkdtemp(pattern);
  std::filesystem::create_directories(dir + "/images/tiny/rootfs");
  std::ofstream(dir + "/agent") << "one";
  PoolIdentity identity{.image = "tiny",
                        .images_dir = dir + "/images",
                        .binaries = {dir + "/agent"},
                        .limits = {.memory_bytes = 1, .cpus = 1, .pids = 1},
                        .hooks = "1.0"};
  auto key = [&] {
    auto made = PoolKey(identity);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : "";
  };
  std::string first = key();
  EXPECT_EQ(key(), first);
  identity.env = {{"A", "b"}};
  EXPECT_NE(key(), first);
  identity.env.clear();
  identity.limits.pids = 2;
  EXPECT_NE(key(), first);
  identity.limits.pids = 1;
  identity.hooks = "2.0";
  EXPECT_NE(key(), first);
  identity.hooks = "1.0";
  EXPECT_EQ(key(), first);
  std::ofstream(dir + "/agent") << "other";
  std::string second = key();
  EXPECT_NE(second, first);
  std::filesystem::rename(dir + "/images/tiny", dir + "/images/old");
  EXPECT_FALSE(PoolKey(identity));
  std::filesystem::create_directories(dir + "/images/tiny/rootfs");
  EXPECT_NE(key(), second);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace atl::sandbox
