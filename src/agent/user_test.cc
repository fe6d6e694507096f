// SPDX-License-Identifier: Apache-2.0
#include "agent/user.h"

#include <gtest/gtest.h>

namespace atl::agent {
namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\nbroken\nbad:x:zz:1::/:\nann:x:1000:100:Ann,,,:/home/ann:/bin/"
    "sh\n"
    "homeless:x:5:6::\n";
constexpr std::string_view kGroup =
    "root:x:0:\nshort\nusers:x:100:ann\n"
    "wheel:x:10:bob,ann\nannex:x:11:anna,joann\nvideo:x:12:ann\n";

User Find(std::string_view spec) {
  auto user = FindUser(spec, kPasswd, kGroup);
  EXPECT_TRUE(user.has_value()) << spec;
  return user.value_or(User());
}

TEST(UserTest, IsFoundByNameAndByNumber) {
  User ann = Find("ann");
  EXPECT_EQ(ann.uid, 1000U);
  EXPECT_EQ(ann.gid, 100U);
  EXPECT_EQ(ann.home, "/home/ann");
  EXPECT_EQ(Find("1000").name, "ann");
  EXPECT_EQ(Find("1000").gid, 100U);
  EXPECT_EQ(Find("ann:root").gid, 0U);
  EXPECT_EQ(Find("ann:7").gid, 7U);
  EXPECT_EQ(Find("homeless").home, "/");
  // A number needs no line.
  User nameless = Find("4242");
  EXPECT_EQ(nameless.uid, 4242U);
  EXPECT_EQ(nameless.gid, 4242U);
  EXPECT_EQ(nameless.name, "");
  EXPECT_EQ(Find("4242:users").gid, 100U);
}

TEST(UserTest, IsInTheGroupsThatNameIt) {
  EXPECT_EQ(Find("ann").groups, (std::vector<uint32_t>{10, 12}));
  EXPECT_EQ(Find("1000").groups, (std::vector<uint32_t>{10, 12}));
  EXPECT_EQ(Find("ann:wheel").groups, (std::vector<uint32_t>{100, 12}));
  EXPECT_TRUE(Find("root").groups.empty());
  EXPECT_TRUE(Find("4242").groups.empty());
}

TEST(UserTest, WhatIsNotThereIsRefused) {
  for (std::string_view spec : {"nobody", "bad", "broken", "ann:nogroup", "ann:", "-1",
                                "4294967295", "4294967296", "65536", "ann:65536", "1000 ", ":0"}) {
    auto user = FindUser(spec, kPasswd, kGroup);
    ASSERT_FALSE(user.has_value()) << spec;
    EXPECT_EQ(user.error().code, Code::kInvalidArgument);
    EXPECT_EQ(user.error().reason, "USER_NOT_FOUND");
  }
}

TEST(UserTest, BringsWhatTheEnvironmentLacks) {
  Program program{.argv = {"a"}, .env = {"HOME=/mine"}, .cwd = "/"};
  ASSERT_TRUE(SetUser("0", &program).has_value());
  EXPECT_EQ(program.env.front(), "HOME=/mine");
  EXPECT_EQ(program.env.size(), 3U);
}

}  // namespace
}  // namespace atl::agent
