// SPDX-License-Identifier: Apache-2.0
// Server and client against each other over socket pairs, and the server against raw bytes.
#include "http/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "async/runtime.h"
#include "http/client.h"

namespace atl::http {
namespace {

using std::chrono::milliseconds;

async::Task<> Echo(Exchange& exchange) {
  const RequestHead& request = exchange.request();
  if (request.path() == "/stream") {
    ResponseHead head;
    (void)co_await exchange.StartResponse(head);
    (void)co_await exchange.Write("one ");
    (void)co_await exchange.Write("two");
    (void)co_await exchange.Finish();
    co_return;
  }
  if (request.path() == "/cut") {
    ResponseHead head;
    (void)co_await exchange.StartResponse(head);
    (void)co_await exchange.Write("half");
    exchange.Abort();
    co_return;
  }
  if (request.path() == "/silent") co_return;
  if (request.path() == "/throws") throw std::runtime_error("broken");
  Result<std::string> body = co_await exchange.ReadBody(1000);
  if (!body) {
    co_await RespondError(exchange, std::move(body).error());
    co_return;
  }
  ResponseHead head;
  (void)co_await exchange.Respond(head, request.method + " " + *body);
}

async::Task<> RunTest(async::Stream server, async::Task<> client) {
  ServerOptions options;
  options.head_timeout = milliseconds(300);
  options.idle_timeout = milliseconds(1000);
  co_await async::Both(ServeConnection(std::move(server), Echo, options), std::move(client));
}

// Sends raw bytes and returns everything that comes back until the server closes.
std::string Raw(std::string sent) {
  std::string received;
  async::RunToEnd([](std::string bytes, std::string& into) -> async::Task<> {
    async::Executor executor = co_await async::ThisExecutor();
    auto fds = sys::MakeSocketPair(SOCK_STREAM).value();
    async::Stream mine(executor, std::move(fds.first));
    async::Stream server(executor, std::move(fds.second));
    auto client = [](async::Stream& stream, std::string data, std::string& out) -> async::Task<> {
      (void)co_await stream.Write(data);
      std::vector<char> piece(4096);
      while (true) {
        Result<size_t> n = co_await stream.ReadSome(piece);
        if (!n || *n == 0) break;
        out.append(piece.data(), *n);
      }
      stream.Close();
    };
    co_await RunTest(std::move(server), client(mine, std::move(bytes), into));
  }(std::move(sent), received));
  return received;
}

TEST(ServerTest, AnswersPipelinedRequestsInOrder) {
  std::string answer =
      Raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
          "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  size_t first = answer.find("POST abc");
  size_t second = answer.find("POST de");
  size_t third = answer.find("GET ");
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  EXPECT_NE(third, std::string::npos);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
}

TEST(ServerTest, MalformedHeadsGetAnErrorAndAClose) {
  std::string answer =
      Raw("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find(R"({"code":"BAD_REQUEST")"), std::string::npos);
  EXPECT_EQ(answer.find("200 OK"), std::string::npos);
}

TEST(ServerTest, AHeadThatDoesNotEndIsRefused) {
  EXPECT_TRUE(Raw("GET / HTTP/1.1\r\nHost: h\r\nA: ").starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(Raw("GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(100'000, 'x'))
                  .starts_with("HTTP/1.1 431 "));
}

TEST(ServerTest, BodiesPastTheLimitGet413) {
  EXPECT_TRUE(
      Raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n" + std::string(1001, 'x'))
          .starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(Raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
                  std::string(2000, 'x'))
                  .starts_with("HTTP/1.1 413 "));
}

TEST(ServerTest, AHandlerThatThrowsOrIsSilentYields500) {
  EXPECT_TRUE(Raw("GET /throws HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 500 "));
  EXPECT_TRUE(Raw("GET /silent HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 500 "));
}

TEST(ServerTest, ExpectContinueIsAnsweredWhenTheBodyIsWanted) {
  std::string answer =
      Raw("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\n"
          "Content-Length: 2\r\n\r\nhi");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")) << answer;
}

TEST(ServerTest, Http10GetsNoChunks) {
  std::string answer = Raw("GET /stream HTTP/1.0\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\none two")) << answer;
  EXPECT_EQ(answer.find("Transfer-Encoding"), std::string::npos);
}

TEST(ServerTest, HeadGetsNoBody) {
  std::string answer = Raw("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
  EXPECT_NE(answer.find("Content-Length: 5"), std::string::npos);
}

// One request through ClientRequest; returns the response or the error's reason as a body.
Response Ask(RequestHead head, std::string body) {
  Response response;
  async::RunToEnd([](RequestHead h, std::string b, Response& into) -> async::Task<> {
    async::Executor executor = co_await async::ThisExecutor();
    auto fds = sys::MakeSocketPair(SOCK_STREAM).value();
    auto transport = PlainTransport(async::Stream(executor, std::move(fds.first)));
    async::Stream server(executor, std::move(fds.second));
    auto client = [](Transport& t, RequestHead req, std::string bd,
                     Response& out) -> async::Task<> {
      Result<Response> answer = co_await Fetch(t, std::move(req), std::move(bd), 10'000);
      if (answer) {
        out = std::move(*answer);
      } else {
        out.head.status = 0;
        out.body = ReasonOf(answer.error());
      }
      t.Close();
    };
    co_await RunTest(std::move(server), client(*transport, std::move(h), std::move(b), into));
  }(std::move(head), std::move(body), response));
  return response;
}

RequestHead Request(std::string method, std::string target) {
  RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.headers.Add("Host", "h");
  return head;
}

TEST(ClientTest, ReadsLengthAndChunkedBodies) {
  EXPECT_EQ(Ask(Request("POST", "/"), "payload").body, "POST payload");
  EXPECT_EQ(Ask(Request("GET", "/stream"), "").body, "one two");
}

TEST(BodyTest, WhatHasComeIsTakenUpToTheEndOfTheBody) {
  ReadBuffer buffer;
  buffer.Append("hellonext");
  BodyReader body(Framing::kLength, 5);
  std::array<char, 3> out{};
  EXPECT_EQ(body.TakeBuffered(buffer, out), 3U);
  EXPECT_EQ(std::string_view(out.data(), 3), "hel");
  EXPECT_FALSE(body.at_end());
  EXPECT_EQ(body.TakeBuffered(buffer, out), 2U);
  EXPECT_TRUE(body.at_end());
  EXPECT_EQ(body.TakeBuffered(buffer, out), 0U);
  EXPECT_EQ(buffer.view(), "next");
  BodyReader chunked(Framing::kChunked, 0);
  EXPECT_EQ(chunked.TakeBuffered(buffer, out), 0U);
}

TEST(ClientTest, AnAnswerThatIsCutIsNoAnswer) {
  Response response = Ask(Request("GET", "/cut"), "");
  EXPECT_EQ(response.head.status, 0);
  EXPECT_EQ(response.body, "CONNECTION_CLOSED");
}

}  // namespace
}  // namespace atl::http
