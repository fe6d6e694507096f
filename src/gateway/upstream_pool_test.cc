// SPDX-License-Identifier: Apache-2.0
#include "gateway/upstream_pool.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "async/runtime.h"

namespace atl::gateway {
namespace {

using std::chrono::milliseconds;

struct Ends {
  async::Stream ours;
  sys::Fd theirs;
};

async::Task<Ends> Connect() {
  async::Executor executor = co_await async::ThisExecutor();
  auto pair = sys::MakeSocketPair(SOCK_STREAM).value();
  co_return Ends{.ours = async::Stream(executor, std::move(pair.first)),
                 .theirs = std::move(pair.second)};
}

TEST(UpstreamPoolTest, GivesBackWhatItKeepsToTheSamePortAlone) {
  async::RunToEnd([]() -> async::Task<> {
    UpstreamPool pool;
    async::Executor shard = co_await async::ThisExecutor();
    Ends ends = co_await Connect();
    pool.Keep("a", 80, std::move(ends.ours));
    EXPECT_FALSE(pool.Take(shard, "a", 81));
    EXPECT_FALSE(pool.Take(shard, "b", 80));
    std::optional<async::Stream> taken = pool.Take(shard, "a", 80);
    EXPECT_TRUE(taken);
    if (!taken) co_return;
    EXPECT_EQ(::write(taken->fd(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(ends.theirs.get(), &byte, 1), 1);
    EXPECT_FALSE(pool.Take(shard, "a", 80));
  }());
}

TEST(UpstreamPoolTest, NeverGivesWhatHasEndedOrWasWrittenTo) {
  async::RunToEnd([]() -> async::Task<> {
    UpstreamPool pool;
    async::Executor shard = co_await async::ThisExecutor();
    Ends closed = co_await Connect();
    Ends unasked = co_await Connect();
    pool.Keep("a", 80, std::move(closed.ours));
    pool.Keep("a", 80, std::move(unasked.ours));
    closed.theirs.Reset();
    EXPECT_EQ(::write(unasked.theirs.get(), "HTTP/1.1 200 OK\r\n", 17), 17);
    EXPECT_FALSE(pool.Take(shard, "a", 80));
    EXPECT_EQ(pool.size(), 0U);
  }());
}

TEST(UpstreamPoolTest, ClosesWhatNobodyTakes) {
  async::RunToEnd([]() -> async::Task<> {
    UpstreamPool pool({.idle = milliseconds(1)});
    Ends ends = co_await Connect();
    pool.Keep("a", 80, std::move(ends.ours));
    async::Executor executor = co_await async::ThisExecutor();
    async::Stream theirs(executor, std::move(ends.theirs));
    std::vector<char> piece(1);
    Result<size_t> n = co_await theirs.ReadSome(piece);
    EXPECT_TRUE(n && *n == 0) << "its end";
    EXPECT_EQ(pool.size(), 0U);
  }());
}

TEST(UpstreamPoolTest, IsBounded) {
  async::RunToEnd([]() -> async::Task<> {
    UpstreamPool pool({.per_port = 2, .total = 3});
    std::vector<Ends> all;
    for (uint16_t port : {1, 1, 1, 2, 2, 2}) {
      Ends ends = co_await Connect();
      all.push_back(std::move(ends));
      pool.Keep("a", port, std::move(all.back().ours));
    }
    EXPECT_EQ(pool.size(), 3U);
  }());
}

}  // namespace
}  // namespace atl::gateway
