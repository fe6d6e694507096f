// SPDX-License-Identifier: Apache-2.0
#include "sandbox/limits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace atl::sandbox {
namespace {

TEST(LimitsTest, Sizes) {
  EXPECT_EQ(*ParseBytes("1073741824"), 1U << 30U);
  EXPECT_EQ(*ParseBytes("64k"), 64U << 10U);
  EXPECT_EQ(*ParseBytes("512M"), 512U << 20U);
  EXPECT_EQ(*ParseBytes("2G"), 2ULL << 30U);
  EXPECT_EQ(*ParseBytes("1t"), 1ULL << 40U);
  EXPECT_EQ(*ParseBytes("0"), 0U);
  for (std::string_view text : {"", "G", "-1", "+1", "1.5G", "2GB", "2 G", " 2G", "2G ", "0x10",
                                "99999999999999999999", "99999999999999T", "two"}) {
    auto bytes = ParseBytes(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().code, Code::kInvalidArgument) << text;
  }
}

TEST(LimitsTest, AbsurdOnesAreRefused) {
  Limits good{.memory_bytes = 1U << 30U, .cpus = 1, .pids = 100};
  EXPECT_TRUE(ValidateLimits(good));
  for (uint64_t memory : {uint64_t{0}, uint64_t{1000}, std::numeric_limits<uint64_t>::max()}) {
    Limits limits = good;
    limits.memory_bytes = memory;
    EXPECT_FALSE(ValidateLimits(limits)) << memory;
  }
  for (double cpus :
       {0.0, -1.0, 1e-9, 1025.0, 1e300, std::nan(""), std::numeric_limits<double>::infinity()}) {
    Limits limits = good;
    limits.cpus = cpus;
    EXPECT_FALSE(ValidateLimits(limits)) << cpus;
  }
  for (uint64_t pids : {0UL, 15UL, 5'000'000UL, std::numeric_limits<uint64_t>::max()}) {
    Limits limits = good;
    limits.pids = pids;
    EXPECT_FALSE(ValidateLimits(limits)) << pids;
  }
  using Disk = std::pair<uint64_t, uint64_t>;
  for (auto [bytes, inodes] : {Disk{64U << 20U, 0}, Disk{1U << 30U, 5000}, Disk{0, 0}}) {
    Limits limits = good;
    limits.disk_bytes = bytes;
    limits.inodes = inodes;
    EXPECT_TRUE(ValidateLimits(limits)) << bytes << " " << inodes;
  }
  for (auto [bytes, inodes] : {Disk{1U << 20U, 0}, Disk{~0ULL, 0}, Disk{0, 5000},
                               Disk{1U << 30U, 5}, Disk{64U << 20U, 1U << 20U}}) {
    Limits limits = good;
    limits.disk_bytes = bytes;
    limits.inodes = inodes;
    EXPECT_FALSE(ValidateLimits(limits)) << bytes << " " << inodes;
  }
  for (uint64_t weight : {uint64_t{0}, uint64_t{10'001}}) {
    Limits limits = good;
    limits.weight = weight;
    EXPECT_FALSE(ValidateLimits(limits)) << weight;
  }
  Limits wide = good;
  wide.cpus = 1024;
  EXPECT_TRUE(ValidateLimits(FitToHost(wide)));
}

TEST(LimitsTest, TheSandboxesOwnEnvironmentCountsMost) {
  Environment env = ProgramEnv({{"LANG", "x"}, {"A", "common"}, {"B", "common"}}, {{"A", "own"}});
  std::map<std::string, std::string> map(env.begin(), env.end());
  EXPECT_EQ(map.size(), env.size()) << "no name twice";
  EXPECT_EQ(map["LANG"], "x");
  EXPECT_EQ(map["A"], "own");
  EXPECT_EQ(map["B"], "common");
  EXPECT_EQ(map["HOME"], "/root");
  EXPECT_TRUE(map["PATH"].starts_with("/opt/opencode/bin:"));
}

TEST(LimitsTest, EnvironmentsAreChecked) {
  EXPECT_TRUE(ValidateCreateEnv({{"A", ""}, {"_b1", "any thing\n"}}));
  EXPECT_FALSE(ValidateCreateEnv({{"", "x"}}));
  EXPECT_FALSE(ValidateCreateEnv({{"1A", "x"}}));
  EXPECT_FALSE(ValidateCreateEnv({{"A=B", "x"}}));
  EXPECT_FALSE(ValidateCreateEnv({{"A", std::string("x\0y", 3)}}));
  EXPECT_FALSE(ValidateCreateEnv({{"A", std::string(70'000, 'x')}}));
}

}  // namespace
}  // namespace atl::sandbox
