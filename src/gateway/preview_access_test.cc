// SPDX-License-Identifier: Apache-2.0
#include "gateway/preview_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace atl::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

http::RequestHead Get(std::string target, std::vector<std::string> cookies = {}) {
  http::RequestHead head;
  head.method = "GET";
  head.target = std::move(target);
  head.host = "3000-demo--t.localhost:8787";
  for (std::string& cookie : cookies) head.headers.Add("Cookie", std::move(cookie));
  return head;
}

TEST(PreviewAccessTest, FindsSignaturesInUrlAndCookies) {
  EXPECT_THAT(ShownSignatures(Get("/?a=1&atoll_preview=x.y&b", {"c=1;atoll_preview=z", "d=2"})),
              ElementsAre("x.y", "z"));
  EXPECT_THAT(ShownSignatures(Get("/atoll_preview=x", {"my_atoll_preview=1; atoll_previews=2"})),
              IsEmpty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += "atoll_preview=x; ";
  EXPECT_THAT(ShownSignatures(Get("/", {many})), SizeIs(8));
}

TEST(PreviewAccessTest, TakesThemAwayAndNothingElse) {
  struct Case {
    const char* target;
    const char* expected;
  };
  const Case cases[] = {
      {"/", "/"},
      {"/?", "/?"},
      {"/a?b=1&&c", "/a?b=1&&c"},
      {"/?atoll_preview=1", "/"},
      {"/a?x=%20&atoll_preview=1&y", "/a?x=%20&y"},
      {"/a?atoll_preview=1&x=1&atoll_preview=2", "/a?x=1"},
      {"/a?atoll_preview", "/a"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(WithoutSignatures(Get(one.target)).target, one.expected) << one.target;
  }
  http::RequestHead head =
      WithoutSignatures(Get("/", {"a=1; atoll_preview=x; b=2", "atoll_preview=y", "c=\"q;\"; d"}));
  EXPECT_EQ(head.headers.Joined("Cookie"), "a=1; b=2, c=\"q;\"; d");
}

TEST(PreviewAccessTest, RedirectsToItsOwnHostAlone) {
  http::RequestHead request = Get("//evil.example/?atoll_preview=1.ab");
  http::ResponseHead head = SignatureToCookie(request, 60);
  EXPECT_EQ(head.status, 302);
  EXPECT_EQ(head.headers.Get("Location"), "http://3000-demo--t.localhost:8787//evil.example/");
  EXPECT_EQ(head.headers.Get("Set-Cookie"),
            "atoll_preview=1.ab; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
  request.headers.Add("X-Forwarded-Proto", "https");
  head = SignatureToCookie(request, 60);
  EXPECT_TRUE(head.headers.Get("Location")->starts_with("https://"));
  EXPECT_TRUE(head.headers.Get("Set-Cookie")->ends_with("; Secure"));
}

TEST(PreviewAccessTest, ProgramsDoNotSetTheGatewaysCookie) {
  http::Headers headers;
  headers.Add("Set-Cookie", "atoll_preview=1; Path=/");
  headers.Add("set-cookie", " atoll_preview ; Max-Age=0");
  headers.Add("Set-Cookie", "atoll_previews=1");
  headers.Add("X-Other", "atoll_preview=1");
  RemoveSignatureCookies(headers);
  ASSERT_EQ(headers.fields().size(), 2U);
  EXPECT_EQ(headers.fields()[0].second, "atoll_previews=1");
}

}  // namespace
}  // namespace atl::gateway
