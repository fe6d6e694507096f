// SPDX-License-Identifier: Apache-2.0
#include "http/framing.h"

#include <gtest/gtest.h>

#include <string>

namespace atl::http {
namespace {

std::string Get(std::string_view fields) {
  return "GET /a?b=c HTTP/1.1\r\nHost: demo.localhost:8787\r\n" + std::string(fields) + "\r\n";
}

TEST(RequestHeadTest, ReadsWhatItIsMadeOf) {
  auto head = ParseRequestHead(Get("X-One:  two \r\nContent-Length: 5\r\n"));
  ASSERT_TRUE(head.has_value()) << head.error().message;
  EXPECT_EQ(head->method, "GET");
  EXPECT_EQ(head->path(), "/a");
  EXPECT_EQ(head->query(), "b=c");
  EXPECT_EQ(head->host, "demo.localhost:8787");
  EXPECT_EQ(head->headers.Get("x-one"), "two");
  EXPECT_EQ(head->framing, Framing::kLength);
  EXPECT_EQ(head->content_length, 5U);
  EXPECT_TRUE(head->keep_alive);
}

TEST(RequestHeadTest, AbsoluteFormIsReducedWhenItNamesTheHost) {
  auto head = ParseRequestHead("GET http://h:1/x?y HTTP/1.1\r\nHost: h:1\r\n\r\n");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->target, "/x?y");
  head = ParseRequestHead("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->target, "/");
}

TEST(RequestHeadTest, KeepAliveFollowsVersionAndConnection) {
  EXPECT_FALSE(ParseRequestHead(Get("Connection: keep-alive, Close\r\n"))->keep_alive);
  EXPECT_FALSE(ParseRequestHead("GET / HTTP/1.0\r\nHost: h\r\n\r\n")->keep_alive);
  EXPECT_TRUE(
      ParseRequestHead("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")->keep_alive);
}

struct Bad {
  const char* name;
  std::string head;
};

class RefusedRequestTest : public ::testing::TestWithParam<Bad> {};

TEST_P(RefusedRequestTest, IsABadRequest) {
  auto head = ParseRequestHead(GetParam().head);
  ASSERT_FALSE(head.has_value());
  EXPECT_EQ(head.error().code, Code::kInvalidArgument);
  EXPECT_FALSE(head.error().message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Framing, RefusedRequestTest,
    ::testing::Values(
        Bad{"NoHost", "GET / HTTP/1.1\r\n\r\n"},
        Bad{"TwoHosts", Get("Host: demo.localhost:8787\r\n")},
        Bad{"EmptyHost", "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        Bad{"HostWithPortTooBig", "GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n"},
        Bad{"HostWithPortZero", "GET / HTTP/1.1\r\nHost: h:0\r\n\r\n"},
        Bad{"HostWithEmptyPort", "GET / HTTP/1.1\r\nHost: h:\r\n\r\n"},
        Bad{"HostWithTwoPorts", "GET / HTTP/1.1\r\nHost: h:1:2\r\n\r\n"},
        Bad{"HostWithUser", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
        Bad{"HostWithPath", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        Bad{"OtherAuthority", "GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"OtherScheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"RelativeTarget", "GET a HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"Fragment", "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"StarTarget", "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"SpaceInTarget", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"TwoSpaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
        Bad{"Connect", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"},
        Bad{"Version2", "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
        Bad{"Version9", "GET / HTTP/1.9\r\nHost: h\r\n\r\n"},
        Bad{"NoVersion", "GET /\r\nHost: h\r\n\r\n"}, Bad{"BareLf", "GET / HTTP/1.1\nHost: h\n\n"},
        Bad{"BareLfInField", Get("A: b\nC: d\r\n")}, Bad{"BareCr", Get("A: b\rC: d\r\n")},
        Bad{"Nul", Get(std::string("A: b\0c\r\n", 8))}, Bad{"ControlByte", Get("A: b\x01\r\n")},
        Bad{"ObsFold", Get("A: b\r\n c\r\n")}, Bad{"SpaceBeforeColon", Get("A : b\r\n")},
        Bad{"NoColon", Get("Abc\r\n")}, Bad{"EmptyName", Get(": b\r\n")},
        Bad{"TeAndCl", Get("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")},
        Bad{"ClAndTe", Get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")},
        Bad{"TeGzip", Get("Transfer-Encoding: gzip\r\n")},
        Bad{"TeGzipChunked", Get("Transfer-Encoding: gzip, chunked\r\n")},
        Bad{"TeChunkedGzip", Get("Transfer-Encoding: chunked, gzip\r\n")},
        Bad{"TeTwice", Get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
        Bad{"TeX", Get("Transfer-Encoding: xchunked\r\n")},
        Bad{"TeIdentity", Get("Transfer-Encoding: identity\r\n")},
        Bad{"TeEmpty", Get("Transfer-Encoding:\r\n")},
        Bad{"TeOnHttp10", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"},
        Bad{"ClTwice", Get("Content-Length: 3\r\nContent-Length: 3\r\n")},
        Bad{"ClList", Get("Content-Length: 3, 3\r\n")},
        Bad{"ClSigned", Get("Content-Length: +3\r\n")},
        Bad{"ClNegative", Get("Content-Length: -3\r\n")},
        Bad{"ClHex", Get("Content-Length: 0x3\r\n")}, Bad{"ClEmpty", Get("Content-Length:\r\n")},
        Bad{"ClHuge", Get("Content-Length: 99999999999999999999\r\n")}),
    [](const auto& tested) { return tested.param.name; });

TEST(RequestHeadTest, TooManyAndTooLongFieldsAreRefused) {
  std::string many;
  for (size_t i = 0; i <= kMaxHeaderCount; ++i) many += "A: b\r\n";
  EXPECT_EQ(ReasonOf(ParseRequestHead(Get(many)).error()), "HEADERS_TOO_LARGE");
  std::string large = "A: " + std::string(kMaxHeadBytes, 'x') + "\r\n";
  EXPECT_EQ(ParseRequestHead(Get(large)).error().code, Code::kTooLarge);
}

std::string Answer(std::string_view fields, std::string_view status = "200 OK") {
  return "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(fields) + "\r\n";
}

TEST(ResponseHeadTest, FramingFollowsStatusMethodAndFields) {
  EXPECT_EQ(ParseResponseHead(Answer("Content-Length: 3\r\n"), "GET")->framing, Framing::kLength);
  EXPECT_EQ(ParseResponseHead(Answer("Content-Length: 3\r\n"), "HEAD")->framing, Framing::kNone);
  EXPECT_EQ(ParseResponseHead(Answer("Transfer-Encoding: chunked\r\n"), "GET")->framing,
            Framing::kChunked);
  EXPECT_EQ(ParseResponseHead(Answer(""), "GET")->framing, Framing::kUntilClose);
  EXPECT_EQ(ParseResponseHead(Answer("", "204 No Content"), "GET")->framing, Framing::kNone);
  EXPECT_EQ(ParseResponseHead(Answer("", "304 Not Modified"), "GET")->framing, Framing::kNone);
  EXPECT_EQ(ParseResponseHead("HTTP/1.1 200\r\n\r\n", "GET")->status, 200);
}

TEST(ResponseHeadTest, MalformedAnswersAreABadGateway) {
  for (const std::string& bad :
       {Answer("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        Answer("Content-Length: 3\r\nContent-Length: 4\r\n"), Answer("A : b\r\n"),
        Answer("Transfer-Encoding: gzip\r\n"), std::string("HTTP/1.1 2x0 OK\r\n\r\n"),
        std::string("ICY 200 OK\r\n\r\n"), Answer("A: b\r\n c\r\n")}) {
    auto head = ParseResponseHead(bad, "GET");
    ASSERT_FALSE(head.has_value()) << bad;
    EXPECT_EQ(head.error().code, Code::kBadGateway);
  }
}

// Feeds `wire` in pieces of `size` bytes; returns the body, or "error".
std::string Decode(std::string_view wire, size_t size, size_t* rest = nullptr) {
  ChunkedDecoder decoder;
  std::string body;
  size_t at = 0;
  while (at < wire.size() && !decoder.done()) {
    auto step = decoder.Decode(wire.substr(at, size));
    if (!step) return "error";
    body += step->data;
    at += step->consumed;
  }
  if (rest != nullptr) *rest = wire.size() - at;
  return decoder.done() ? body : "unfinished";
}

TEST(ChunkedDecoderTest, TakesApartInPiecesOfAnySize) {
  std::string wire = "5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\nnext";
  for (size_t size = 1; size <= wire.size(); ++size) {
    size_t rest = 0;
    EXPECT_EQ(Decode(wire, size, &rest), "hello world") << size;
    EXPECT_EQ(rest, 4U) << size;
  }
}

TEST(ChunkedDecoderTest, RefusesWhatTwoReadersMayReadDifferently) {
  for (const char* bad :
       {"x\r\n", "\r\n", "-1\r\n", "5\nhello\r\n", "5\r\nhelloX\r\n", "0x5\r\nhello\r\n",
        "ffffffffffffffffff\r\n", "5\r\nhello\n0\r\n\r\n", "5 5\r\n"}) {
    EXPECT_EQ(Decode(bad, 1000), "error") << bad;
  }
  EXPECT_EQ(Decode(std::string(5000, '1'), 100), "error");
}

}  // namespace
}  // namespace atl::http
