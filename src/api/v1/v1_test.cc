// SPDX-License-Identifier: Apache-2.0
#include "api/v1/v1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "api/v1/assets.h"

namespace atl::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

async::Task<> Nothing(const Services& /*services*/, Values /*values*/,
                      http::Exchange& /*exchange*/) {
  co_return;
}

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/a/{id}/files/{path...}",
     .operation = "read",
     .handler = Nothing},
    {.method = "GET", .pattern = "/v1/a/{id}/{name}", .operation = "named", .handler = Nothing},
    {.method = "POST", .pattern = "/v1/a/{id}/run", .operation = "run", .handler = Nothing},
    {.method = "GET", .pattern = "/v1/a", .operation = "list", .handler = Nothing},
};

std::string Operation(const RouteTable& table, std::string_view method, std::string_view path) {
  Result<RouteTable::Match> match = table.Find(method, path);
  if (!match) return std::string(ReasonOf(match.error()));
  return match->route == nullptr ? "allow: " + match->allow : std::string(match->route->operation);
}

TEST(RouteTableTest, FindsByMethodAndPath) {
  RouteTable table({kRoutes});
  EXPECT_EQ(Operation(table, "GET", "/v1/a"), "list");
  EXPECT_EQ(Operation(table, "HEAD", "/v1/a"), "list");
  EXPECT_EQ(Operation(table, "POST", "/v1/a"), "allow: GET, HEAD");
  EXPECT_EQ(Operation(table, "POST", "/v1/a/demo/run"), "run");
  EXPECT_EQ(Operation(table, "GET", "/v1/a/demo/run"), "named");
  EXPECT_EQ(Operation(table, "PUT", "/v1/a/demo/run"), "allow: POST, GET, HEAD");
  for (const char* path : {"/v1/a/", "/v1", "/", "", "*", "/v1/a/demo", "/v1/a//run",
                           "/v1/a/demo/run/", "/v1/a/demo/files/"}) {
    EXPECT_EQ(Operation(table, "GET", path), "allow: ") << path;
  }
}

TEST(RouteTableTest, DecodesAndChecksValues) {
  RouteTable table({kRoutes});
  Result<RouteTable::Match> match = table.Find("GET", "/v1/a/demo/files/x%2Fy/%C3%A4%20z//w");
  ASSERT_TRUE(match.has_value());
  EXPECT_THAT(match->values, ElementsAre("demo", "x/y/ä z//w"));
  EXPECT_EQ(Operation(table, "GET", "/v1/a/Demo/x"), "INVALID_SANDBOX_ID");
  for (const char* path :
       {"/v1/a/demo/%00", "/v1/a/demo/%", "/v1/a/demo/%ff", "/v1/a/demo/files/%"}) {
    EXPECT_EQ(Operation(table, "GET", path), "VALIDATION_FAILED") << path;
  }
}

TEST(RouteTableTest, OfTheApiHasNothingTwice) {
  RouteTable table = AllRoutes();
  std::set<std::string> operations;
  std::set<std::pair<std::string_view, std::string_view>> places;
  for (const Route& route : table.routes()) {
    EXPECT_TRUE(operations.emplace(route.operation).second) << route.operation;
    EXPECT_TRUE(places.emplace(route.method, route.pattern).second) << route.pattern;
    EXPECT_NE(route.handler, nullptr) << route.pattern;
    EXPECT_TRUE(route.summary.ends_with('.')) << route.operation;
  }
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
