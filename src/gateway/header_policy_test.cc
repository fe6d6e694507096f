// SPDX-License-Identifier: Apache-2.0
#include "gateway/header_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace atl::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

http::Headers Make(std::initializer_list<std::pair<const char*, const char*>> fields) {
  http::Headers headers;
  for (const auto& [name, value] : fields) headers.Add(name, value);
  return headers;
}

TEST(RemoveHopByHopTest, FixedOnesAndThoseThatConnectionNames) {
  http::Headers headers = Make({{"Host", "demo"},
                                {"connection", "close, X-Private , x-other"},
                                {"Connection", "host"},
                                {"x-private", "1"},
                                {"X-Other", "2"},
                                {"Keep-Alive", "timeout=5"},
                                {"Proxy-Connection", "x"},
                                {"TE", "trailers"},
                                {"Trailer", "X"},
                                {"Transfer-Encoding", "chunked"},
                                {"Content-Length", "5"},
                                {"Upgrade", "h2c"},
                                {"X-Kept", "3"}});
  RemoveHopByHop(headers);
  EXPECT_THAT(headers.fields(), ElementsAre(Pair("Host", "demo"), Pair("X-Kept", "3")));
}

TEST(StripCookieDomainTest, RemovesEveryDomainAttributeAndNothingElse) {
  EXPECT_EQ(StripCookieDomain("a=b; Domain=localhost; Path=/"), "a=b; Path=/");
  EXPECT_EQ(StripCookieDomain("a=b;domain=.x;DOMAIN = y ; Secure; HttpOnly"),
            "a=b; Secure; HttpOnly");
  EXPECT_EQ(StripCookieDomain("a=b; Domain"), "a=b");
  EXPECT_EQ(StripCookieDomain("Domain=x; Path=/"), "Domain=x; Path=/");
  EXPECT_EQ(StripCookieDomain("a=\"x; Domain=y\""), "a=\"x");
  EXPECT_EQ(StripCookieDomain("a=b; DomainX=1"), "a=b; DomainX=1");
  EXPECT_EQ(StripCookieDomain(""), "");
}

http::RequestHead Request() {
  http::RequestHead head;
  head.method = "GET";
  head.target = "/a?b";
  head.host = "3000-demo.localhost:8787";
  head.headers.Add("Host", head.host);
  return head;
}

TEST(UpstreamHeadTest, KeepsHostAndSaysWhereTheRequestCameFrom) {
  http::RequestHead request = Request();
  request.headers.Add("X-Forwarded-For", "6.6.6.6");
  request.headers.Add("x-forwarded-proto", "https");
  request.headers.Add("Forwarded", "for=6.6.6.6");
  request.headers.Add("X-Real-IP", "6.6.6.6");
  request.headers.Add("Expect", "100-continue");
  request.headers.Add("Cookie", "a=b");
  http::RequestHead head = UpstreamHead(request, "127.0.0.1:51234", false);
  EXPECT_THAT(head.headers.fields(),
              ElementsAre(Pair("Cookie", "a=b"), Pair("Host", "3000-demo.localhost:8787"),
                          Pair("X-Forwarded-For", "127.0.0.1"),
                          Pair("X-Forwarded-Host", "3000-demo.localhost:8787"),
                          Pair("X-Forwarded-Proto", "https"), Pair("Connection", "close")));
  EXPECT_EQ(*UpstreamHead(request, "[::1]:51234", false).headers.Get("X-Forwarded-For"), "::1");
}

TEST(UpstreamHeadTest, AsksForTheSwitchOnlyWhenTunnelling) {
  http::RequestHead request = Request();
  request.headers.Add("Connection", "keep-alive, Upgrade");
  request.headers.Add("Upgrade", "websocket");
  EXPECT_TRUE(IsUpgrade(request));
  EXPECT_EQ(UpstreamHead(request, "a:1", true).headers.Joined("Connection"), "Upgrade");
  EXPECT_EQ(UpstreamHead(request, "a:1", true).headers.Joined("Upgrade"), "websocket");
  EXPECT_FALSE(UpstreamHead(request, "a:1", false).headers.Has("Upgrade"));
  request.headers.Set("Upgrade", "h2c");
  EXPECT_FALSE(IsUpgrade(request));
  request.headers.Set("Upgrade", "websocket");
  request.minor_version = 0;
  EXPECT_FALSE(IsUpgrade(request));
}

TEST(DownstreamHeadTest, FramingIsMadeAnew) {
  http::ResponseHead response;
  response.headers = Make({{"Content-Type", "text/plain"},
                           {"Transfer-Encoding", "chunked"},
                           {"Connection", "keep-alive"},
                           {"Set-Cookie", "a=b; Domain=x"},
                           {"Set-Cookie", "c=d"},
                           {"Alt-Svc", "h2=\":1\""}});
  response.framing = http::Framing::kChunked;
  EXPECT_THAT(DownstreamHead(response, "GET", false).headers.fields(),
              ElementsAre(Pair("Content-Type", "text/plain"), Pair("Set-Cookie", "a=b"),
                          Pair("Set-Cookie", "c=d")));
  http::ResponseHead sized;
  sized.headers = Make({{"content-length", "7"}});
  sized.framing = http::Framing::kLength;
  sized.content_length = 7;
  EXPECT_THAT(DownstreamHead(sized, "GET", false).headers.fields(),
              ElementsAre(Pair("Content-Length", "7")));
}

TEST(DownstreamHeadTest, ResponsesWithoutBody) {
  http::ResponseHead head;
  head.headers = Make({{"Content-Length", "1234"}});
  head.framing = http::Framing::kNone;
  EXPECT_EQ(DownstreamHead(head, "HEAD", false).headers.Joined("Content-Length"), "1234");
  head.status = 304;
  EXPECT_EQ(DownstreamHead(head, "GET", false).headers.Joined("Content-Length"), "1234");
  head.status = 204;
  EXPECT_FALSE(DownstreamHead(head, "GET", false).headers.Has("Content-Length"));
  http::ResponseHead empty;
  empty.framing = http::Framing::kNone;
  EXPECT_EQ(DownstreamHead(empty, "GET", false).headers.Joined("Content-Length"), "0");
}

TEST(DownstreamHeadTest, CorsIsOpencodesNoMore) {
  http::ResponseHead response;
  response.framing = http::Framing::kChunked;
  response.headers = Make({{"access-control-allow-origin", "*"},
                           {"Access-Control-Allow-Credentials", "true"},
                           {"Vary", "Origin"}});
  EXPECT_THAT(DownstreamHead(response, "GET", true).headers.fields(),
              ElementsAre(Pair("Vary", "Origin")));
  EXPECT_EQ(DownstreamHead(response, "GET", false).headers.fields().size(), 3U);
}

}  // namespace
}  // namespace atl::gateway
