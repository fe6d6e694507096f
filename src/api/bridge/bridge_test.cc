// SPDX-License-Identifier: Apache-2.0
#include "api/bridge/bridge.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "api/bridge/terms.h"
#include "api/v1/v1.h"

namespace atl::api::bridge {
namespace {

TEST(BridgeRoutesTest, StandBesideThoseOfTheApi) {
  RouteTable table = AllRoutes(BridgeRoutes());
  std::set<std::string_view> operations;
  std::set<std::pair<std::string_view, std::string_view>> places;
  for (const Route& route : table.routes()) {
    EXPECT_TRUE(operations.emplace(route.operation).second) << route.operation;
    EXPECT_TRUE(places.emplace(route.method, route.pattern).second) << route.pattern;
    EXPECT_NE(route.handler, nullptr) << route.pattern;
    EXPECT_TRUE(route.summary.ends_with('.')) << route.operation;
  }
}

TEST(BridgeTermsTest, PathsStayInTheWorkspace) {
  for (const char* path : {"", ".", "/workspace", "/workspace/", "a/..", "/workspace/./x/.."}) {
    Result<std::string> found = WorkspacePath(path);
    ASSERT_TRUE(found) << path;
    EXPECT_EQ(*found, "/workspace") << path;
  }
  for (const char* path :
       {"a/b", "/workspace/a/b", "//workspace//a//b/", "c/../a/b", "/x/../workspace/a/b"}) {
    Result<std::string> found = WorkspacePath(path);
    ASSERT_TRUE(found) << path;
    EXPECT_EQ(*found, "/workspace/a/b") << path;
  }
  for (const char* path :
       {"/", "..", "/etc", "/workspaces", "../etc", "/workspace/..", "a/../.."}) {
    Result<std::string> found = WorkspacePath(path);
    ASSERT_FALSE(found) << path;
    EXPECT_EQ(found.error().code, Code::kPermissionDenied) << path;
  }
}

void ExpectFailure(Error error, int status, std::string_view code) {
  Failure failure = FailureOf(error, "otherwise");
  EXPECT_EQ(failure.status, status) << ReasonOf(error);
  EXPECT_EQ(failure.code, code) << ReasonOf(error);
}

TEST(BridgeTermsTest, FailuresHaveItsCodes) {
  ExpectFailure({.code = Code::kInvalidArgument, .message = ""}, 400, "invalid_request");
  ExpectFailure({.code = Code::kPermissionDenied, .message = ""}, 403, "invalid_request");
  ExpectFailure({.code = Code::kNotFound, .message = "", .reason = std::string(kReadNotFound)}, 404,
                "workspace_read_not_found");
  ExpectFailure({.code = Code::kTooLarge, .message = ""}, 413, "payload_too_large");
  ExpectFailure({.code = Code::kResourceExhausted, .message = "", .reason = "CAPACITY_EXCEEDED"},
                503, "capacity_exceeded");
  ExpectFailure({.code = Code::kResourceExhausted, .message = "", .reason = "NO_SPACE"}, 502,
                "otherwise");
  ExpectFailure({.code = Code::kUnavailable, .message = ""}, 503, "otherwise");
  ExpectFailure({.code = Code::kInternal, .message = ""}, 502, "otherwise");
}

TEST(BridgeTermsTest, FailuresAreJson) {
  EXPECT_EQ(FailureJson("a \"b\"", "c"), R"({"error":"a \"b\"","code":"c"})");
}

}  // namespace
}  // namespace atl::api::bridge
