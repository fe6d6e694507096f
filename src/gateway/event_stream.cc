// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_stream.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "async/mutex.h"
#include "gateway/event_splitter.h"

namespace atl::gateway {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPieceBytes = 64UL * 1024;
constexpr size_t kMaxEventBytes = 32UL << 20U;
// OpenCode says something every 10 s; proxies on the way wait longer than that.
constexpr std::chrono::milliseconds kQuiet{15'000};
constexpr std::chrono::milliseconds kLook{1'000};
constexpr std::string_view kComment = ":\n\n";

struct Passing {
  http::Exchange& exchange;
  const EventSource& source;
  async::Mutex writes = {};  // one at a time, from two tasks
  Clock::time_point last_write = Clock::now();
  Error end{.code = Code::kCancelled, .message = "the client has gone away"};
};

async::Task<Result<void>> Write(Passing& passing, std::string_view text) {
  async::Mutex::Lock lock = co_await passing.writes.Acquire();
  Result<void> written = co_await passing.exchange.Write(text);
  passing.last_write = Clock::now();
  co_return written;
}

async::Task<> Comment(Passing& passing) {
  for (;;) {
    co_await async::Sleep(kLook);
    if (Clock::now() - passing.last_write < kQuiet) continue;
    Result<void> written = co_await Write(passing, kComment);
    if (!written) co_return;
  }
}

// Until the source ends. A failure is the client's.
async::Task<Result<void>> PassFrom(Passing& passing, http::ClientRequest& upstream) {
  EventSplitter splitter;
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    Result<size_t> n = co_await upstream.ReadSome(piece);
    if (!n || *n == 0) co_return Result<void>();
    splitter.Append(std::string_view(piece.data(), *n));
    std::string events = splitter.TakeWhole();
    if (splitter.pending() > kMaxEventBytes) {
      co_return Fail(Code::kBadGateway, fmt::format("an event is above {} bytes", kMaxEventBytes));
    }
    if (events.empty()) continue;
    CO_TRY(co_await Write(passing, events));
    if (HasNews(events)) co_await passing.source.news();
  }
}

async::Task<Result<void>> PassAgain(Passing& passing, const http::RequestHead& request) {
  for (;;) {
    CO_ASSIGN(async::Stream stream, co_await passing.source.again());
    std::unique_ptr<http::Transport> transport = http::PlainTransport(std::move(stream));
    http::ClientRequest upstream(*transport);
    Result<void> sent = co_await upstream.SendHead(request);
    if (!sent) continue;
    Result<http::ResponseHead> head = co_await upstream.ReadHead();
    if (!head) continue;
    if (!IsEventStream(*head)) {
      co_return Fail(Code::kBadGateway, fmt::format("{} is no event stream now", request.path()));
    }
    CO_TRY(co_await PassFrom(passing, upstream));
  }
}

async::Task<> PassAll(Passing& passing, http::ClientRequest* upstream,
                      const http::RequestHead& request) {
  Result<void> passed;
  if (upstream != nullptr) passed = co_await PassFrom(passing, *upstream);
  if (passed) passed = co_await PassAgain(passing, request);
  if (!passed) passing.end = std::move(passed).error();
}

}  // namespace

bool IsEventStream(const http::ResponseHead& head) {
  std::string type = head.headers.Joined("Content-Type");
  std::string_view name = http::Trim(std::string_view(type).substr(0, type.find(';')));
  return head.status == 200 && http::EqualsIgnoreCase(name, "text/event-stream") &&
         !head.headers.Has("Content-Encoding") && head.framing != http::Framing::kLength;
}

async::Task<Error> PassEvents(http::Exchange& exchange, http::ClientRequest* upstream,
                              http::RequestHead request, const EventSource& source) {
  Passing passing{.exchange = exchange, .source = source};
  co_await async::Race(PassAll(passing, upstream, request), Comment(passing));
  co_return passing.end;
}

}  // namespace atl::gateway
