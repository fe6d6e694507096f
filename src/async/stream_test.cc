// SPDX-License-Identifier: Apache-2.0
#include "async/stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "async/mutex.h"
#include "async/runtime.h"

namespace atl::async {
namespace {

using std::chrono::milliseconds;

struct Pair {
  Stream a;
  Stream b;
};

Task<Pair> MakePair() {
  Executor executor = co_await ThisExecutor();
  auto fds = sys::MakeSocketPair(SOCK_STREAM).value();
  co_return Pair{Stream(executor, std::move(fds.first)), Stream(executor, std::move(fds.second))};
}

Task<> WriteMuch(Stream& stream, size_t total, bool& wrote_all) {
  std::string data(total, 'x');
  Result<void> written = co_await stream.Write(data);
  wrote_all = written.has_value();
  stream.ShutdownWrite();
}

Task<> CountUntilEnd(Stream& stream, size_t& counted) {
  std::vector<char> buffer(10'000);
  while (true) {
    Result<size_t> n = co_await stream.ReadSome(buffer);
    if (!n || *n == 0) co_return;
    counted += *n;
  }
}

TEST(StreamTest, AWriteBiggerThanTheSocketBufferArrivesWhole) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    size_t counted = 0;
    bool wrote_all = false;
    constexpr size_t kTotal = 5'000'000;
    co_await Both(WriteMuch(pair.a, kTotal, wrote_all), CountUntilEnd(pair.b, counted));
    EXPECT_TRUE(wrote_all);
    EXPECT_EQ(counted, kTotal);
  }());
}

TEST(StreamTest, AWatchTellsOnceThatThePeerHasGone) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    Event gone;
    int times = 0;
    auto tell = [&] {
      ++times;
      gone.Set();
    };
    auto watch = pair.a.WatchHangup(tell);
    // What waits to be read hides nothing.
    Result<void> sent = co_await pair.b.Write("data");
    EXPECT_TRUE(sent);
    co_await Sleep(milliseconds(10));
    EXPECT_EQ(times, 0);
    pair.b.Close();
    co_await gone.Wait();
    EXPECT_EQ(times, 1);
  }());
}

TEST(StreamTest, AWatchThatIsGoneTellsNothingAndLeavesTheStream) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    bool told = false;
    auto tell = [&told] { told = true; };
    for (int i = 0; i < 3; ++i) {
      auto watch = pair.a.WatchHangup(tell);
      watch.reset();
      Result<void> sent = co_await pair.b.Write("x");
      EXPECT_TRUE(sent);
      std::vector<char> piece(1);
      Result<size_t> n = co_await pair.a.ReadSome(piece);
      EXPECT_TRUE(n && *n == 1);
    }
    auto watch = pair.a.WatchHangup(tell);
    watch.reset();
    pair.b.Close();
    co_await Sleep(milliseconds(10));
    EXPECT_FALSE(told);
  }());
}

Task<> WriteInPieces(Stream& stream, const std::string& data, size_t piece) {
  for (size_t at = 0; at < data.size(); at += piece) {
    std::string_view part = std::string_view(data).substr(at, piece);
    Result<void> written = co_await stream.Write(part);
    EXPECT_TRUE(written);
    if ((at / piece) % 3 == 0) co_await Sleep(milliseconds(0));
  }
  stream.ShutdownWrite();
}

Task<> ReadAll(Stream& stream, std::string& all, size_t room) {
  std::vector<char> buffer(room);
  while (true) {
    Result<size_t> n = co_await stream.ReadSome(buffer);
    if (!n || *n == 0) co_return;
    all.append(buffer.data(), *n);
  }
}

Task<Pair> MakeTcpPair() {
  Executor executor = co_await ThisExecutor();
  auto bound = Listener::BindTcp({.address = "127.0.0.1", .port = 0}).value();
  Listener listener(executor, std::move(bound));
  Endpoint endpoint{.address = "127.0.0.1", .port = listener.port()};
  Result<Stream> a = co_await ConnectTcp(endpoint, milliseconds(1000));
  Result<sys::Fd> b = co_await listener.Accept();
  co_return Pair{std::move(a).value(), Stream(executor, std::move(b).value())};
}

// Reads that fill their room, that get less, and that find the end together with the last data: all
// that a wait for an edge could sleep through.
TEST(StreamTest, NoByteAndNoEndIsSleptThrough) {
  RunToEnd([]() -> Task<> {
    for (bool tcp : {true, false}) {
      for (size_t piece : {1UL, 7UL, 4096UL}) {
        for (size_t room : {1UL, 7UL, 100UL, 65536UL}) {
          Task<Pair> making = tcp ? MakeTcpPair() : MakePair();
          Pair pair = co_await std::move(making);
          std::string data(piece * 50, 'x');
          std::string got;
          auto reading = ReadAll(pair.b, got, room);
          auto both = Both(WriteInPieces(pair.a, data, piece), std::move(reading));
          bool ended = co_await WithTimeout(milliseconds(10'000), std::move(both));
          EXPECT_TRUE(ended) << tcp << " " << piece << " " << room;
          EXPECT_EQ(got.size(), data.size());
        }
      }
    }
  }());
}

TEST(StreamTest, WhatCameBeforeTheWaitIsReadable) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakeTcpPair();
    std::vector<char> buffer(10);
    auto wait = [](Stream& stream) -> Task<> { co_await stream.WaitReadable(); };
    bool early = co_await WithTimeout(milliseconds(5), wait(pair.b));
    EXPECT_FALSE(early);
    Result<void> written = co_await pair.a.Write("0123456789abcdef");
    EXPECT_TRUE(written);
    Result<size_t> n = co_await pair.b.ReadSome(buffer);
    EXPECT_EQ(n.value_or(0), 10U);
    // Six more wait; nothing arrives any more.
    bool ready = co_await WithTimeout(milliseconds(5000), wait(pair.b));
    EXPECT_TRUE(ready);
    n = co_await pair.b.ReadSome(buffer);
    EXPECT_EQ(n.value_or(0), 6U);
    bool idle = co_await WithTimeout(milliseconds(20), wait(pair.b));
    EXPECT_FALSE(idle);
  }());
}

TEST(StreamTest, ACloseOfAnotherIsBorneInTheMiddleOfABatch) {
  RunToEnd([]() -> Task<> {
    Pair one = co_await MakePair();
    Pair two = co_await MakePair();
    // Both are ready in one batch; whichever comes first closes the other.
    auto closes = [](Stream& own, Stream& other) -> Task<> {
      Result<void> ready = co_await own.WaitReadable();
      if (ready) other.Close();
    };
    auto write = [](Stream& a, Stream& b) -> Task<> {
      co_await Sleep(milliseconds(5));
      co_await a.Write("x");
      co_await b.Write("x");
    };
    Task<> waits = Both(closes(one.b, two.b), closes(two.b, one.b));
    co_await Both(std::move(waits), write(one.a, two.a));
    EXPECT_TRUE(one.b.is_open() != two.b.is_open());
  }());
}

TEST(StreamTest, ATimeoutCancelsAReadAndTheStreamStaysUsable) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    size_t counted = 0;
    bool in_time = co_await WithTimeout(milliseconds(20), CountUntilEnd(pair.b, counted));
    EXPECT_FALSE(in_time);
    EXPECT_TRUE((co_await pair.a.Write("hello")).has_value());
    std::vector<char> buffer(10);
    Result<size_t> n = co_await pair.b.ReadSome(buffer);
    EXPECT_EQ(n.value_or(0), 5U);
  }());
}

TEST(StreamTest, HangupIsNoticedAlsoBehindUnreadData) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    (void)co_await pair.a.Write("pipelined");
    pair.a.Close();
    bool in_time = co_await WithTimeout(milliseconds(5000), pair.b.WaitForHangup());
    EXPECT_TRUE(in_time);
  }());
}

TEST(StreamTest, RelayCarriesBothWaysAndEndsWithTheLastHalf) {
  RunToEnd([]() -> Task<> {
    Pair left = co_await MakePair();
    Pair right = co_await MakePair();
    (void)co_await left.a.Write("ping");
    left.a.ShutdownWrite();
    (void)co_await right.b.Write("pong!");
    right.b.ShutdownWrite();
    Relayed relayed = co_await Relay(left.b, right.a, milliseconds(5000));
    EXPECT_EQ(relayed.a_to_b, 4U);
    EXPECT_EQ(relayed.b_to_a, 5U);
  }());
}

TEST(StreamTest, RelayEndsWhenNothingMoves) {
  RunToEnd([]() -> Task<> {
    Pair left = co_await MakePair();
    Pair right = co_await MakePair();
    bool in_time = co_await WithTimeout(milliseconds(5000), [](Pair& l, Pair& r) -> Task<> {
      (void)co_await Relay(l.b, r.a, milliseconds(30));
    }(left, right));
    EXPECT_TRUE(in_time);
  }());
}

TEST(StreamTest, ConnectAndAcceptOverTcpAndOverALongUnixPath) {
  RunToEnd([]() -> Task<> {
    Executor executor = co_await ThisExecutor();
    Listener tcp(executor, Listener::BindTcp({.address = "127.0.0.1", .port = 0}).value());
    Endpoint tcp_end("127.0.0.1", tcp.port());
    Result<Stream> client = co_await ConnectTcp(tcp_end, milliseconds(1000));
    EXPECT_TRUE(client.has_value());
    Result<sys::Fd> accepted = co_await tcp.Accept();
    EXPECT_TRUE(accepted.has_value());

    char root[] = "/tmp/atoll-stream-XXXXXX";
    EXPECT_NE(::mkdtemp(root), nullptr);
    std::string dir = std::string(root) + "/" + std::string(150, 'd');
    EXPECT_TRUE(sys::MakeDirs(dir).has_value());
    std::string path = dir + "/s";
    Listener unix_listener(executor, Listener::BindUnix(path).value());
    Result<Stream> local = co_await ConnectUnix(path, milliseconds(1000));
    EXPECT_TRUE(local.has_value());
    EXPECT_TRUE(sys::RemoveTree(root).has_value());
  }());
}

TEST(StreamTest, ARefusedConnectionSaysWhereTo) {
  RunToEnd([]() -> Task<> {
    sys::Fd bound = Listener::BindTcp({.address = "127.0.0.1", .port = 0}).value();
    Executor executor = co_await ThisExecutor();
    Listener listener(executor, std::move(bound));
    Endpoint endpoint("127.0.0.1", listener.port());
    listener.Close();
    Result<Stream> client = co_await ConnectTcp(endpoint, milliseconds(1000));
    EXPECT_FALSE(client.has_value());
    EXPECT_NE(client.error().message.find("connect to 127.0.0.1:"), std::string::npos);
  }());
}

TEST(StreamTest, ADescriptorTravels) {
  RunToEnd([]() -> Task<> {
    Pair pair = co_await MakePair();
    sys::Pipe pipe = sys::MakePipe().value();
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 'x';
    iovec piece{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    int passed = pipe.write.get();
    std::memcpy(CMSG_DATA(header), &passed, sizeof(int));
    EXPECT_EQ(::sendmsg(pair.a.fd(), &message, 0), 1);
    std::vector<char> buffer(8);
    sys::Fd received;
    Result<size_t> n = co_await pair.b.ReadSomeWithFd(buffer, received);
    EXPECT_EQ(n.value_or(0), 1U);
    EXPECT_TRUE(static_cast<bool>(received));
    EXPECT_EQ(::fcntl(received.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }());
}

TEST(EndpointTest, ParsesBothFamiliesAndRefusesTheRest) {
  EXPECT_EQ(ParseEndpoint("127.0.0.1:8787")->port, 8787);
  EXPECT_EQ(ParseEndpoint("[::1]:80")->address, "::1");
  for (const char* bad : {"", "127.0.0.1", "localhost:80", "127.0.0.1:", "127.0.0.1:70000",
                          "127.0.0.1:80x", "300.0.0.1:80"}) {
    EXPECT_FALSE(ParseEndpoint(bad).has_value()) << bad;
  }
}

Task<> TakeTurns(Mutex& mutex, int& inside, int& most, int& done) {
  for (int i = 0; i < 200; ++i) {
    Mutex::Lock lock = co_await mutex.Acquire();
    most = std::max(most, ++inside);
    co_await Sleep(milliseconds(0));
    --inside;
  }
  ++done;
}

TEST(MutexTest, OneAtATimeAcrossShards) {
  Runtime runtime(3, 1);
  Mutex mutex;
  int inside = 0;
  int most = 0;
  int done = 0;
  for (int i = 0; i < 6; ++i) {
    Spawn(runtime.NextShard(), TakeTurns(mutex, inside, most, done), "turns");
  }
  Spawn(
      runtime.shard(0),
      [](Runtime& r, Mutex& m, int& d) -> Task<> {
        while (true) {
          co_await Sleep(milliseconds(5));
          Mutex::Lock lock = co_await m.Acquire();
          if (d == 6) break;
        }
        r.Stop();
      }(runtime, mutex, done),
      "end");
  runtime.Run();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(done, 6);
}

TEST(BlockingPoolTest, ResultsAndExceptionsComeBack) {
  BlockingPool pool(2);
  RunToEnd([](BlockingPool& p) -> Task<> {
    auto answer = [] { return 42; };
    int result = co_await p.Run(answer);
    EXPECT_EQ(result, 42);
    bool thrown = false;
    auto fails = [] { throw std::runtime_error("no"); };
    try {
      co_await p.Run(fails);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }(pool));
}

TEST(EventTest, WakesWaitersOnOtherShards) {
  Runtime runtime(2, 1);
  Event event;
  bool woke = false;
  Spawn(
      runtime.shard(1),
      [](Event& e, bool& w, Runtime& r) -> Task<> {
        co_await e.Wait();
        w = true;
        r.Stop();
      }(event, woke, runtime),
      "waits");
  Spawn(
      runtime.shard(0),
      [](Event& e) -> Task<> {
        co_await Sleep(milliseconds(10));
        e.Set();
      }(event),
      "sets");
  runtime.Run();
  EXPECT_TRUE(woke);
}

}  // namespace
}  // namespace atl::async
