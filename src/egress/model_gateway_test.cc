// SPDX-License-Identifier: Apache-2.0
#include "egress/model_gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "async/runtime.h"
#include "egress/model_url.h"
#include "egress/redactor.h"
#include "egress/test_support.h"

namespace atl::egress {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kKey[] = "sk-real-0123456789abcdef";

// The gateway behind a server of its own.
class ModelGatewayTest : public testing::Test {
 protected:
  void Start(ModelOptions options) {
    gateway_ = std::make_unique<ModelGateway>(std::move(options));
    auto handler = [this](http::Exchange& exchange) {
      return gateway_->Handle("0123456789abcdef", exchange);
    };
    server_ = std::make_unique<http::Server>(handler, http::ServerOptions());
    auto listener = async::Listener::BindTcp(async::Endpoint{"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    port_ = PortOf(*listener);
    auto shard = [this] { return runtime_.shard(0); };
    server_->Listen(*std::move(listener), runtime_.shard(0), shard);
    thread_ = std::thread([this] { runtime_.Run(); });
  }
  void StartFor(ModelOptions::Protocol protocol, const std::string& path) {
    upstream_ = BindLoopbackSocket(SOCK_STREAM);
    std::string base = "http://127.0.0.1:" + std::to_string(PortOf(upstream_)) + path;
    Start(ModelOptions{protocol, base, kKey});
  }
  ~ModelGatewayTest() override {
    runtime_.Stop();
    if (thread_.joinable()) thread_.join();
  }
  std::string Exchange(const std::string& request) {
    sys::Fd fd = ConnectLoopback(port_);
    SendText(fd, request);
    return ReadToEnd(fd);
  }

  async::Runtime runtime_{1, 2};
  std::unique_ptr<ModelGateway> gateway_;
  std::unique_ptr<http::Server> server_;
  std::thread thread_;
  sys::Fd upstream_;
  uint16_t port_ = 0;
};

std::string Post(const std::string& path, const std::string& fields, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: gateway.atoll\r\nConnection: close\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST_F(ModelGatewayTest, PutsTheRealKeyInPlaceOfTheSandboxs) {
  StartFor(ModelOptions::Protocol::kAnthropic, "");
  auto seen = std::async(std::launch::async, [this] {
    sys::Fd fd = AcceptOne(upstream_);
    std::string request = ReadUntil(fd, "hello");
    SendText(fd,
             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n"
             "request-id: r1\r\n\r\nok");
    return request;
  });
  std::string answer =
      Exchange(Post("/v1/messages?beta=true",
                    "X-Api-Key: fake\r\nAuthorization: Bearer fake\r\nCookie: fake\r\n"
                    "Proxy-Authorization: fake\r\nAnthropic-Version: 2023-06-01\r\n"
                    "anthropic-beta: x\r\nContent-Type: application/json\r\n",
                    "hello"));
  std::string request = seen.get();
  EXPECT_THAT(request, StartsWith("POST /v1/messages?beta=true HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("x-api-key: sk-real-0123456789abcdef\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("fake")));
  EXPECT_THAT(request, Not(HasSubstr("gateway.atoll")));
  EXPECT_THAT(request, HasSubstr("Anthropic-Version: 2023-06-01\r\n"));
  EXPECT_THAT(request, HasSubstr("anthropic-beta: x\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("request-id: r1\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Set-Cookie")));
  EXPECT_TRUE(answer.ends_with("\r\n\r\nok"));
}

TEST_F(ModelGatewayTest, StreamsEventsAsTheyCome) {
  StartFor(ModelOptions::Protocol::kOpenAi, "/v1/");
  sys::Fd client = ConnectLoopback(port_);
  SendText(client,
           "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.atoll\r\n"
           "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  sys::Fd fd = AcceptOne(upstream_);
  std::string request = ReadUntil(fd, "abc\r\n");
  EXPECT_THAT(request, StartsWith("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer sk-real-0123456789abcdef\r\n"));
  SendText(client, "0\r\n\r\n");
  EXPECT_THAT(ReadUntil(fd, "0\r\n\r\n"), HasSubstr("0\r\n\r\n"));
  SendText(fd,
           "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
           "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
  EXPECT_THAT(ReadUntil(client, "data: 1\n\n"), HasSubstr("data: 1\n\n"))
      << "the first event must not wait for the second";
  SendText(fd, "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
  EXPECT_THAT(ReadUntil(client, "0\r\n\r\n"), HasSubstr("data: 2\n\n"));
}

TEST_F(ModelGatewayTest, NeverTellsTheKey) {
  StartFor(ModelOptions::Protocol::kOpenAi, "/v1");
  auto served = std::async(std::launch::async, [this] {
    sys::Fd fd = AcceptOne(upstream_);
    ReadUntil(fd, "\r\n\r\n");
    std::string key = kKey;
    SendText(fd, "HTTP/1.1 401 Unauthorized\r\nX-Echo: " + key + "\r\nContent-Length: " +
                     std::to_string(2 * key.size() + 4) + "\r\n\r\nbad " + key.substr(0, 7));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    SendText(fd, key.substr(7) + key);
  });
  std::string answer =
      Exchange("GET /v1/models HTTP/1.1\r\nHost: gateway.atoll\r\nConnection: close\r\n\r\n");
  served.get();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(answer, Not(HasSubstr("0123456789abcdef")));
  EXPECT_TRUE(answer.ends_with("bad " + std::string(2 * (sizeof kKey - 1), '*'))) << answer;
}

TEST_F(ModelGatewayTest, DoesNotFollowRedirects) {
  StartFor(ModelOptions::Protocol::kOpenAi, "");
  auto served = std::async(std::launch::async, [this] {
    sys::Fd fd = AcceptOne(upstream_);
    ReadUntil(fd, "\r\n\r\n");
    SendText(fd,
             "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n"
             "Content-Length: 0\r\n\r\n");
  });
  std::string answer = Exchange(Post("/v1/responses", "", "{}"));
  served.get();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(answer, HasSubstr("MODEL_REDIRECTS"));
  EXPECT_THAT(answer, Not(HasSubstr("Location")));
}

TEST_F(ModelGatewayTest, HangsUpOnTheProviderWhenTheClientDoes) {
  StartFor(ModelOptions::Protocol::kAnthropic, "");
  sys::Fd client = ConnectLoopback(port_);
  SendText(client, Post("/v1/messages", "", "{}"));
  sys::Fd fd = AcceptOne(upstream_);
  ReadUntil(fd, "{}");
  client.Reset();
  EXPECT_EQ(ReadToEnd(fd), "") << "and at once, not by the test's time limit";
}

TEST_F(ModelGatewayTest, ServesNothingElse) {
  StartFor(ModelOptions::Protocol::kAnthropic, "");
  for (const char* path : {"/", "/v1/files", "/v1/messages/", "/v1/messages/batches",
                           "/v1/../v1/messages", "//v1/messages", "/v1/models"}) {
    EXPECT_THAT(Exchange(Post(path, "", "{}")), StartsWith("HTTP/1.1 404")) << path;
  }
  EXPECT_THAT(Exchange("GET /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 404"));
}

TEST_F(ModelGatewayTest, SaysWhatIsMissing) {
  Start(ModelOptions{});
  std::string answer = Exchange(Post("/v1/messages", "", "{}"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(answer, HasSubstr(R"("code":"MODEL_NOT_CONFIGURED")"));
  EXPECT_THAT(answer, HasSubstr("ANTHROPIC_API_KEY"));
  EXPECT_THAT(answer, HasSubstr(R"("error":{"type":"api_error")"));
}

TEST_F(ModelGatewayTest, SaysWhenTheProviderCannotBeReached) {
  StartFor(ModelOptions::Protocol::kAnthropic, "");
  upstream_.Reset();
  std::string answer = Exchange(Post("/v1/messages", "", "{}"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(answer, HasSubstr("MODEL_UNREACHABLE"));
}

TEST(ModelUrl, IsTakenApart) {
  auto url = ParseModelUrl("https://api.anthropic.com");
  ASSERT_TRUE(url);
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->path, "");
  url = ParseModelUrl("http://[::1]:9100/api/v1/");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "::1");
  EXPECT_EQ(url->port, 9100);
  EXPECT_EQ(url->authority, "[::1]:9100");
  EXPECT_EQ(url->path, "/api/v1");
  for (const char* bad :
       {"", "api.anthropic.com", "ftp://x", "http://", "http://:80", "http://a:0", "http://a:99999",
        "http://u@a", "http://a/?x", "http://a/#x", "http://a\r\nX: y"}) {
    EXPECT_FALSE(ParseModelUrl(bad)) << bad;
  }
}

TEST(ModelUrl, JoinsPathsWithoutDoublingTheVersion) {
  using enum ModelOptions::Protocol;
  EXPECT_EQ(JoinModelPath(kAnthropic, "", "/v1/messages"), "/v1/messages");
  EXPECT_EQ(JoinModelPath(kAnthropic, "/v1", "/v1/messages"), "/v1/messages");
  EXPECT_EQ(JoinModelPath(kAnthropic, "/anthropic", "/v1/messages"), "/anthropic/v1/messages");
  EXPECT_EQ(JoinModelPath(kOpenAi, "", "/v1/models"), "/v1/models");
  EXPECT_EQ(JoinModelPath(kOpenAi, "/v1", "/v1/chat/completions"), "/v1/chat/completions");
  EXPECT_EQ(JoinModelPath(kOpenAi, "/api/v4", "/v1/chat/completions"), "/api/v4/chat/completions");
}

TEST(Redactor, FindsTheSecretHoweverItIsCut) {
  std::string text = "a secret, a secretsecret, a secre";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    Redactor redactor("secret");
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) out += redactor.Feed(text.substr(at, piece));
    out += redactor.Finish();
    EXPECT_EQ(out, "a ******, a ************, a secre") << piece;
  }
}

TEST(Redactor, HoldsNothingBackThatCannotBeTheSecret) {
  Redactor redactor("secret");
  EXPECT_EQ(redactor.Feed("data: 1\n\n"), "data: 1\n\n");
}

}  // namespace
}  // namespace atl::egress
