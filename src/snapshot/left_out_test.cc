// SPDX-License-Identifier: Apache-2.0
#include "snapshot/left_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace atl::snapshot {
namespace {

using testing::ElementsAre;

std::vector<std::string> Fit(std::vector<std::string> paths, size_t prefix_bytes = 0,
                             const LeftOutLimits& limits = {}) {
  FitLeftOut(paths, prefix_bytes, limits);
  return paths;
}

TEST(LeftOut, PathsThatAreTooLongBecomeTheirLongestDirectoryThatFits) {
  std::string deep = "d";
  while (deep.size() < 4080) deep += "/" + std::string(99, 'x');
  const auto fitted = Fit({"short", deep}, 11);
  ASSERT_EQ(fitted.size(), 2U);
  EXPECT_EQ(fitted[1], "short");
  EXPECT_LE(fitted[0].size() + 11, 4000U);
  EXPECT_GT(fitted[0].size() + 11, 3890U);
  EXPECT_TRUE(deep.starts_with(fitted[0] + "/"));
}

TEST(LeftOut, OfTooManyTheDeepestBecomeTheirDirectories) {
  std::vector<std::string> paths = {"top", "a/one"};
  for (int i = 0; i < 1000; ++i) paths.push_back("a/crowd/" + std::to_string(i));
  EXPECT_EQ(Fit(paths).size(), 1002U);
  EXPECT_THAT(Fit(paths, 0, {.count = 10}), ElementsAre("a/crowd", "a/one", "top"));
  EXPECT_THAT(Fit(paths, 0, {.bytes = 40}), ElementsAre("a/crowd", "a/one", "top"));
  EXPECT_THAT(Fit(paths, 0, {.count = 2}), ElementsAre("a", "top"));
}

TEST(LeftOut, WhatIsBelowAnotherGoes) {
  EXPECT_THAT(Fit({"a/b", "a", "a.b", "a/c/d", "ab/c"}), ElementsAre("a", "a.b", "ab/c"));
}

}  // namespace
}  // namespace atl::snapshot
