// SPDX-License-Identifier: Apache-2.0
// A client, the proxy and a program inside, over socket pairs.
#include "gateway/reverse_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "async/runtime.h"
#include "sys/fd.h"

namespace atl::gateway {
namespace {

using std::chrono::milliseconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr milliseconds kLimit{5'000};

// Both ends' sockets and what they do. A script reads until it has seen a text, writes, closes.
struct End {
  explicit End(async::Stream s) : stream(std::move(s)) {}
  async::Stream stream;
  std::string received;
};

async::Task<> ReadUntil(End& end, std::string text) {
  std::vector<char> piece(4096);
  while (text.empty() || end.received.find(text) == std::string::npos) {
    Result<size_t> n = co_await end.stream.ReadSome(piece);
    if (!n || *n == 0) co_return;
    end.received.append(piece.data(), *n);
  }
}

async::Task<> Send(End& end, std::string text) {
  Result<void> sent = co_await end.stream.Write(text);
  (void)sent;
}

struct World {
  World(const async::Executor& executor, ProxyPolicy with) : policy(with) {
    auto outside = sys::MakeSocketPair(SOCK_STREAM).value();
    auto inside = sys::MakeSocketPair(SOCK_STREAM).value();
    client = std::make_unique<End>(async::Stream(executor, std::move(outside.first)));
    server = std::make_unique<async::Stream>(executor, std::move(outside.second));
    upstream = std::make_unique<async::Stream>(executor, std::move(inside.first));
    program = std::make_unique<End>(async::Stream(executor, std::move(inside.second)));
  }
  ProxyPolicy policy;
  std::unique_ptr<End> client;
  std::unique_ptr<async::Stream> server;    // the gateway's end towards the client
  std::unique_ptr<async::Stream> upstream;  // and towards the program
  std::unique_ptr<End> program;
};

using Script = async::Task<> (*)(World&);

async::Task<> Serve(World& world) {
  auto handler = [&world](http::Exchange& exchange) {
    return ProxyTo(exchange, std::move(*world.upstream), world.policy);
  };
  http::Handler function = handler;
  co_await http::ServeConnection(std::move(*world.server), function, http::ServerOptions());
}

async::Task<> RunScripts(World& world, Script client, Script program) {
  co_await async::Both(client(world), program(world));
}

struct Seen {
  std::string client;
  std::string program;
  bool in_time = false;
};

async::Task<> RunWorld(ProxyPolicy policy, Script client, Script program, Seen& seen) {
  async::Executor executor = co_await async::ThisExecutor();
  World world(executor, policy);
  auto all = [](World& w, Script c, Script p) -> async::Task<> {
    co_await async::Both(RunScripts(w, c, p), Serve(w));
  };
  seen.in_time = co_await async::WithTimeout(kLimit, all(world, client, program));
  seen.client = world.client->received;
  seen.program = world.program->received;
}

Seen Play(Script client, Script program, ProxyPolicy policy = {}) {
  Seen seen;
  async::RunToEnd(RunWorld(policy, client, program, seen));
  EXPECT_TRUE(seen.in_time);
  return seen;
}

async::Task<> Get(World& world) {
  co_await Send(*world.client,
                "GET /a HTTP/1.1\r\nHost: 1-a.localhost:8\r\nConnection: close\r\n\r\n");
  co_await ReadUntil(*world.client, "");
  world.client->stream.Close();
}

TEST(ReverseProxyTest, PassesARequestAndItsResponse) {
  Seen seen = Play(Get, [](World& world) -> async::Task<> {
    co_await ReadUntil(*world.program, "\r\n\r\n");
    co_await Send(*world.program,
                  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b; Domain=localhost\r\n"
                  "Keep-Alive: timeout=5\r\n\r\nhello");
    world.program->stream.Close();
  });
  EXPECT_THAT(seen.program, StartsWith("GET /a HTTP/1.1\r\n"));
  EXPECT_THAT(seen.program, HasSubstr("\r\nHost: 1-a.localhost:8\r\n"));
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(seen.client, HasSubstr("Set-Cookie: a=b\r\n"));
  EXPECT_THAT(seen.client, Not(HasSubstr("Keep-Alive")));
  EXPECT_THAT(seen.client, EndsWith("\r\n\r\nhello"));
}

// What becomes of the connection to the program when `answer` is all that it says.
struct Kept {
  bool kept = false;
  bool stale = false;
};
Kept PlayKept(std::string answer, bool waited) {
  static std::string text;
  text = std::move(answer);
  Kept outcome;
  ProxyPolicy policy;
  policy.keep = [&outcome](async::Stream) { outcome.kept = true; };
  if (waited) policy.stale = &outcome.stale;
  Play(
      Get,
      [](World& world) -> async::Task<> {
        co_await ReadUntil(*world.program, "\r\n\r\n");
        co_await Send(*world.program, text);
        world.program->stream.ShutdownWrite();
      },
      policy);
  return outcome;
}

TEST(ReverseProxyTest, KeepsAConnectionAfterAWholeResponseAlone) {
  EXPECT_TRUE(PlayKept("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false).kept);
  EXPECT_TRUE(PlayKept("HTTP/1.1 204 No Content\r\n\r\n", false).kept);
  EXPECT_TRUE(
      PlayKept("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false).kept);
  for (const char* answer : {
           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
           "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
           "HTTP/1.1 200 OK\r\n\r\nhi",
           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
           "",
       }) {
    EXPECT_FALSE(PlayKept(answer, false).kept) << answer;
  }
}

TEST(ReverseProxyTest, OnlyAConnectionThatHasWaitedAndSaysNothingIsStale) {
  EXPECT_TRUE(PlayKept("", true).stale);
  EXPECT_FALSE(PlayKept("H", true).stale);
  EXPECT_FALSE(PlayKept("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true).stale);
  EXPECT_FALSE(PlayKept("", false).stale);
}

TEST(ReverseProxyTest, RepeatsOnlyWhatIsIdempotentAndHasNoBody) {
  http::RequestHead request;
  for (const char* method : {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}) {
    request.method = method;
    EXPECT_TRUE(MayBeRepeated(request)) << method;
  }
  request.framing = http::Framing::kLength;
  EXPECT_FALSE(MayBeRepeated(request));
  request.framing = http::Framing::kNone;
  request.method = "POST";
  EXPECT_FALSE(MayBeRepeated(request));
}

TEST(ReverseProxyTest, EventsAreNotHeldBack) {
  Seen seen = Play(
      [](World& world) -> async::Task<> {
        co_await Send(*world.client, "GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
        co_await ReadUntil(*world.client, "data: 1");
        // The program sends the second event only after this.
        co_await Send(*world.program, "data: 2\n\n");
        co_await ReadUntil(*world.client, "data: 2");
        world.client->stream.Close();
      },
      [](World& world) -> async::Task<> {
        co_await ReadUntil(*world.program, "\r\n\r\n");
        co_await Send(*world.program,
                      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        // The client's leaving ends the connection to the program.
        co_await ReadUntil(*world.program, "");
      });
  EXPECT_THAT(seen.client, HasSubstr("data: 2"));
}

TEST(ReverseProxyTest, TheResponseMayBeginBeforeTheBodyEnds) {
  Seen seen = Play(
      [](World& world) -> async::Task<> {
        co_await Send(*world.client,
                      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        co_await ReadUntil(*world.client, "got one");
        co_await Send(*world.client, "3\r\ntwo\r\n0\r\n\r\n");
        co_await ReadUntil(*world.client, "");
        world.client->stream.Close();
      },
      [](World& world) -> async::Task<> {
        co_await ReadUntil(*world.program, "one");
        co_await Send(*world.program, "HTTP/1.1 200 OK\r\n\r\ngot one");
        co_await ReadUntil(*world.program, "0\r\n\r\n");
        co_await Send(*world.program, " got two");
        world.program->stream.Close();
      });
  EXPECT_THAT(seen.program, HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_THAT(seen.client, HasSubstr("got two"));
  EXPECT_THAT(seen.client, EndsWith("0\r\n\r\n"));
}

TEST(ReverseProxyTest, AResponseThatBreaksOffIsNotTakenForWhole) {
  Seen seen = Play(Get, [](World& world) -> async::Task<> {
    co_await ReadUntil(*world.program, "\r\n\r\n");
    co_await Send(*world.program,
                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    world.program->stream.Close();
  });
  EXPECT_THAT(seen.client, HasSubstr("half"));
  EXPECT_THAT(seen.client, Not(HasSubstr("0\r\n\r\n")));
}

TEST(ReverseProxyTest, NonsenseIsABadGateway) {
  Seen seen = Play(Get, [](World& world) -> async::Task<> {
    co_await ReadUntil(*world.program, "\r\n\r\n");
    co_await Send(*world.program,
                  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    world.program->stream.Close();
  });
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(seen.client, HasSubstr("\"code\":"));
}

TEST(ReverseProxyTest, SilenceIsABadGateway) {
  Seen seen = Play(Get, [](World& world) -> async::Task<> {
    co_await ReadUntil(*world.program, "\r\n\r\n");
    world.program->stream.Close();
  });
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 502"));
}

TEST(ReverseProxyTest, BodiesPastTheLimitAreRefused) {
  Seen seen = Play(
      [](World& world) -> async::Task<> {
        co_await Send(*world.client,
                      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n");
        co_await ReadUntil(*world.client, "");
        world.client->stream.Close();
      },
      [](World& world) -> async::Task<> { co_await ReadUntil(*world.program, ""); },
      {.body_limit = 7});
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 413"));
}

TEST(ReverseProxyTest, TunnelsWithEarlyBytesOfBothSides) {
  Seen seen = Play(
      [](World& world) -> async::Task<> {
        co_await Send(*world.client,
                      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                      "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly-client");
        co_await ReadUntil(*world.client, "pong");
        world.client->stream.Close();
      },
      [](World& world) -> async::Task<> {
        co_await ReadUntil(*world.program, "\r\n\r\n");
        co_await Send(*world.program,
                      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                      "Upgrade: websocket\r\n\r\nearly-program");
        co_await ReadUntil(*world.program, "early-client");
        co_await Send(*world.program, "pong");
        co_await ReadUntil(*world.program, "");
        world.program->stream.Close();
      });
  EXPECT_THAT(seen.program, HasSubstr("Upgrade: websocket\r\n"));
  EXPECT_THAT(seen.program, HasSubstr("Sec-WebSocket-Key: x\r\n"));
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 101"));
  EXPECT_THAT(seen.client, HasSubstr("\r\n\r\nearly-programpong"));
}

TEST(ReverseProxyTest, AnUnaskedSwitchIsABadGateway) {
  Seen seen = Play(Get, [](World& world) -> async::Task<> {
    co_await ReadUntil(*world.program, "\r\n\r\n");
    co_await Send(*world.program,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    world.program->stream.Close();
  });
  EXPECT_THAT(seen.client, StartsWith("HTTP/1.1 502"));
}

TEST(ReverseProxyTest, HeadHasALengthAndNoBody) {
  Seen seen = Play(
      [](World& world) -> async::Task<> {
        co_await Send(*world.client, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        co_await ReadUntil(*world.client, "");
        world.client->stream.Close();
      },
      [](World& world) -> async::Task<> {
        co_await ReadUntil(*world.program, "\r\n\r\n");
        co_await Send(*world.program, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
        world.program->stream.Close();
      });
  EXPECT_THAT(seen.client, HasSubstr("Content-Length: 1234\r\n"));
  EXPECT_THAT(seen.client, EndsWith("\r\n\r\n"));
}

}  // namespace
}  // namespace atl::gateway
