// SPDX-License-Identifier: Apache-2.0
#include "snapshot/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace atl::snapshot {
namespace {

using std::chrono::seconds;

TEST(PolicyTest, Durations) {
  EXPECT_EQ(*ParseDuration("90s"), seconds(90));
  EXPECT_EQ(*ParseDuration("10m"), seconds(600));
  EXPECT_EQ(*ParseDuration("12h"), seconds(43200));
  EXPECT_EQ(*ParseDuration("3d"), seconds(259200));
  EXPECT_EQ(*ParseDuration("2w"), seconds(1209600));
  EXPECT_EQ(*ParseDuration("45"), seconds(45));
  EXPECT_EQ(*ParseDuration("off"), seconds(0));
  for (const char* bad : {"", "m", "-1m", "1x", "1 m", "99999999999d", "1.5h"}) {
    EXPECT_FALSE(ParseDuration(bad)) << bad;
  }
  for (int count : {0, 1, 59, 60, 90, 3600, 86400, 259200}) {
    EXPECT_EQ(*ParseDuration(FormatDuration(seconds(count))), seconds(count));
  }
  EXPECT_EQ(*ParseTtl("never"), std::nullopt);
  EXPECT_EQ(**ParseTtl("3d"), seconds(259200));
  EXPECT_FALSE(ParseTtl("0"));
}

TEST(PolicyTest, APolicyIsReadOverItsDefaults) {
  AutoPolicy defaults;
  EXPECT_EQ(*ParseAutoPolicy("{}", defaults), defaults);
  auto policy = ParseAutoPolicy(R"({"onStop":false,"interval":"30s","paths":["/b/","/a"]})", {});
  ASSERT_TRUE(policy) << policy.error().message;
  EXPECT_FALSE(policy->on_stop);
  EXPECT_TRUE(policy->on_start);
  EXPECT_EQ(policy->interval, seconds(30));
  EXPECT_THAT(policy->paths, testing::ElementsAre("/a", "/b"));
  EXPECT_EQ(*ParseAutoPolicy(EncodeAutoPolicy(*policy), defaults), *policy);
}

TEST(PolicyTest, WhatIsWrongIsSaid) {
  for (const char* bad : {R"({"onstop":true})", R"({"interval":"1s"})", R"({"interval":5})",
                          R"({"paths":["a"]})", R"({"paths":["/a","/a/b"]})", R"({"paths":"/a"})",
                          R"({"onStop":1})", R"({"paths":["/"]})"}) {
    EXPECT_FALSE(ParseAutoPolicy(bad, {})) << bad;
  }
}

TEST(PolicyTest, Directories) {
  EXPECT_EQ(*NormalDir("/workspace"), "/workspace");
  EXPECT_EQ(*NormalDir("/workspace/"), "/workspace");
  EXPECT_EQ(*NormalDir("//a/./b//c/."), "/a/b/c");
  EXPECT_EQ(*NormalDir("/..a/b.."), "/..a/b..");
  for (std::string dir :
       {std::string(), std::string("/"), std::string("//."), std::string("a"), std::string("/a/.."),
        std::string("/../a"), std::string("/a\0b", 4), "/" + std::string(5000, 'a')}) {
    auto normal = NormalDir(dir);
    ASSERT_FALSE(normal) << dir;
    EXPECT_EQ(normal.error().reason, "INVALID_BACKUP_CONFIG");
  }
}

}  // namespace
}  // namespace atl::snapshot
