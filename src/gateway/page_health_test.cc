// SPDX-License-Identifier: Apache-2.0
#include "gateway/page_health.h"

#include <gtest/gtest.h>

namespace atl::gateway {
namespace {

bool Asks(const std::string& target, const http::Headers& headers, const char* method = "GET") {
  http::RequestHead request;
  request.method = method;
  request.target = target;
  request.host = "demo.localhost:8787";
  request.headers = headers;
  return IsPageHealth(request);
}

http::Headers With(const std::string& name, const std::string& value) {
  http::Headers headers;
  headers.Add(name, value);
  return headers;
}

TEST(IsPageHealthTest, APageOfTheHostAsks) {
  http::Headers page = With("Sec-Fetch-Mode", "cors");
  EXPECT_TRUE(Asks("/global/health", page));
  EXPECT_TRUE(Asks("/api/health", page));
  EXPECT_TRUE(Asks("/api/health", With("Referer", "http://demo.localhost:8787/x/session")));
  EXPECT_FALSE(Asks("/session", page));
  EXPECT_FALSE(Asks("/global/health?held", page));
  EXPECT_FALSE(Asks("/global/health", page, "POST"));
}

TEST(IsPageHealthTest, APersonOrAProgramWantsToKnow) {
  EXPECT_FALSE(Asks("/global/health", {}));
  EXPECT_FALSE(Asks("/global/health", With("Sec-Fetch-Mode", "navigate")));
  EXPECT_FALSE(Asks("/global/health", With("Referer", "http://other.localhost:8787/")));
  EXPECT_FALSE(Asks("/global/health", With("Referer", "http://demo.localhost:8787.evil.example/")));
}

}  // namespace
}  // namespace atl::gateway
