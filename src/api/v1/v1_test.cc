// SPDX-License-Identifier: Apache-2.0
#include "api/v1/v1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/v1/assets.h"

namespace atl::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PathPartsTest, SplitsAtEverySlash) {
  EXPECT_THAT(PathParts("/v1/sandboxes/demo/run"), ElementsAre("v1", "sandboxes", "demo", "run"));
  EXPECT_THAT(PathParts("/"), ElementsAre(""));
  EXPECT_THAT(PathParts("/v1//x/"), ElementsAre("v1", "", "x", ""));
  EXPECT_THAT(PathParts("*"), ElementsAre());
}

TEST(AssetsTest, ThePageIsAtTheRootAndNothingElseIsServed) {
  if (Assets().empty()) GTEST_SKIP() << "built without web/";
  const Asset* page = FindAsset("/");
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page, FindAsset("/index.html"));
  EXPECT_THAT(std::string(page->content), HasSubstr("<!doctype html>"));
  EXPECT_EQ(ContentType(page->name), "text/html; charset=utf-8");
  for (const char* path : {"", "*", "//", "/../etc/passwd", "/build.sh", "/package.json",
                           "/node_modules", "index.html"}) {
    EXPECT_EQ(FindAsset(path), nullptr) << path;
  }
}

TEST(ContentTypeTest, ByName) {
  EXPECT_EQ(ContentType("a.js"), "text/javascript; charset=utf-8");
  EXPECT_EQ(ContentType("a.svg"), "image/svg+xml");
  EXPECT_EQ(ContentType("a"), "application/octet-stream");
}

}  // namespace
}  // namespace atl::api
