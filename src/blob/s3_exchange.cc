// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>

#include "async/mutex.h"

namespace atl::blob {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kConnectLimit(10'000);
constexpr size_t kPiece = 256UL << 10U;
constexpr uint64_t kMaxErrorBody = 64UL << 10U;
// Below this the answer is not looked for before everything is sent.
constexpr uint64_t kSmallBody = 32UL << 10U;

// Notes when something has moved.
class Watched : public http::Transport {
 public:
  Watched(http::Transport& inner, Clock::time_point& moved, bool& heard)
      : inner_(inner), moved_(moved), heard_(heard) {}

  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override {
    Result<size_t> n = co_await inner_.ReadSome(buffer);
    moved_ = Clock::now();
    if (n && *n > 0) heard_ = true;
    co_return n;
  }
  async::Task<Result<void>> Write(std::string_view data) override {
    Result<void> written;
    while (written && !data.empty()) {
      std::string_view piece = data.substr(0, kPiece);
      written = co_await inner_.Write(piece);
      moved_ = Clock::now();
      data.remove_prefix(piece.size());
    }
    co_return written;
  }
  void Close() override { inner_.Close(); }

 private:
  http::Transport& inner_;
  Clock::time_point& moved_;
  bool& heard_;
};

// What the coroutines of one exchange share. Everything but `stopped` stays on its shard.
struct Work {
  S3Exchange& exchange;
  async::Event stopped;
  async::Event answered;
  Clock::time_point moved = Clock::now();
  http::ClientRequest* request = nullptr;
  Result<void> sent = Fail(Code::kBadGateway, "the store answered before it had all");
  Result<http::ResponseHead> head = Fail(Code::kBadGateway, "no answer");
  bool idle = false;
  bool done = false;
};

async::Task<> SendAll(Work& work) {
  for (std::string_view piece : work.exchange.body) {
    Result<void> written = co_await work.request->SendBody(piece);
    if (!written) {
      work.sent = std::move(written);
      co_return;
    }
  }
  work.sent = Result<void>();
}

async::Task<> ReceiveHead(Work& work) {
  do {
    work.head = co_await work.request->ReadHead();
  } while (work.head && work.head->status < 200);
  work.answered.Set();
}

// A store that refuses says so before it has the whole body, and then reads no more of it.
async::Task<> SendUntilAnswered(Work& work) {
  auto send = SendAll(work);
  auto answered = work.answered.Wait();
  co_await async::Race(std::move(send), std::move(answered));
}

async::Task<Result<std::string>> ReceiveBody(Work& work) {
  const http::ResponseHead& head = *work.head;
  if (head.framing == http::Framing::kNone) co_return std::string();
  bool success = head.status < 300;
  uint64_t limit = success ? work.exchange.limit : kMaxErrorBody;
  bool has_length = head.framing == http::Framing::kLength;
  if (has_length && success && head.content_length > limit) {
    co_return Fail(Code::kTooLarge,
                   fmt::format("it has {} bytes, above {}", head.content_length, limit));
  }
  std::string body;
  if (has_length) body.reserve(std::min(head.content_length, limit));
  while (true) {
    size_t size = body.size();
    size_t piece = kPiece;
    if (has_length) piece = std::min<uint64_t>(kPiece, head.content_length - size);
    // Room for at least one byte, so that the end is seen.
    piece = std::max<size_t>(piece, 1);
    body.resize_and_overwrite(size + piece, [](char*, size_t count) { return count; });
    std::span<char> room(body.data() + size, piece);
    Result<size_t> n = co_await work.request->ReadSome(room);
    if (!n) co_return std::unexpected(std::move(n).error());
    body.resize(size + *n);
    if (*n == 0) co_return body;
    if (body.size() <= limit) continue;
    if (success) co_return Fail(Code::kTooLarge, fmt::format("it is above {} bytes", limit));
    body.resize(limit);
    co_return body;
  }
}

async::Task<Result<void>> Connect(S3Exchange& exchange) {
  exchange.reused = exchange.connection.transport != nullptr;
  if (exchange.reused) co_return Result<void>();
  milliseconds limit = std::min(kConnectLimit, exchange.total_limit);
  CO_ASSIGN(exchange.connection.transport,
            co_await http::ConnectUrlHost(exchange.host, exchange.port, exchange.tls, limit,
                                          exchange.ca_file));
  co_return Result<void>();
}

// Swift ends its answers to HEAD with the last chunk of a body that they must not have; it would be
// taken for the beginning of the next answer.
bool MayHaveBody(const http::ResponseHead& head) {
  return head.framing == http::Framing::kNone && head.headers.Get("Transfer-Encoding").has_value();
}

async::Task<Result<S3Response>> Converse(Work& work) {
  S3Exchange& exchange = work.exchange;
  CO_TRY(co_await Connect(exchange));
  Watched transport(*exchange.connection.transport, work.moved, exchange.heard);
  http::ClientRequest request(transport);
  work.request = &request;
  uint64_t size = exchange.head.content_length;
  http::RequestHead head = exchange.head;
  CO_TRY(co_await request.SendHead(std::move(head)));
  if (size <= kSmallBody) {
    co_await SendAll(work);
    co_await ReceiveHead(work);
  } else {
    auto send = SendUntilAnswered(work);
    auto receive = ReceiveHead(work);
    co_await async::Both(std::move(send), std::move(receive));
  }
  if (!work.head) co_return std::unexpected(std::move(work.head).error());
  if (work.head->status < 300 && !work.sent) co_return std::unexpected(work.sent.error());
  CO_ASSIGN(std::string body, co_await ReceiveBody(work));
  exchange.keep = work.sent && work.head->keep_alive && request.TakeEarly().empty() &&
                  work.head->framing != http::Framing::kUntilClose && !MayHaveBody(*work.head) &&
                  (work.head->status < 300 || body.size() < kMaxErrorBody);
  S3Response response{.status = work.head->status,
                      .headers = std::move(work.head->headers),
                      .body = std::move(body)};
  co_return response;
}

async::Task<> Perform(Work& work) {
  Result<S3Response> response = co_await Converse(work);
  // Whoever cancelled this knows why.
  if (!response && response.error().code == Code::kCancelled) co_return;
  work.exchange.response = std::move(response);
  work.done = true;
}

async::Task<> WatchIdle(Work& work) {
  while (true) {
    auto idle = std::chrono::duration_cast<milliseconds>(Clock::now() - work.moved);
    if (idle >= work.exchange.idle_limit) break;
    co_await async::Sleep(work.exchange.idle_limit - idle + milliseconds(1));
  }
  work.idle = true;
}

async::Task<> Guarded(Work& work) {
  auto perform = Perform(work);
  auto watch = WatchIdle(work);
  auto both = async::Race(std::move(perform), std::move(watch));
  auto stopped = work.stopped.Wait();
  co_await async::Race(std::move(both), std::move(stopped));
}

// Tells the waiting thread when the coroutine has gone, whatever ended it.
class Ending {
 public:
  void Wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return has_ended_; });
  }
  void Set() {
    std::scoped_lock lock(mutex_);
    has_ended_ = true;
    ended_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
};

async::Task<> Run(Work& work) {
  auto guarded = Guarded(work);
  (void)co_await async::WithTimeout(work.exchange.total_limit, std::move(guarded));
}

// `ending` goes with this frame, even if that has never run and goes with its event loop.
async::Task<> RunAndTell(Work& work, [[maybe_unused]] std::shared_ptr<void> ending) {
  try {
    co_await Run(work);
  } catch (const std::exception& error) {
    work.exchange.response = Fail(Code::kInternal, fmt::format("request: {}", error.what()));
    work.done = true;
  }
  S3Exchange& exchange = work.exchange;
  if (!work.done || !exchange.keep) exchange.connection.transport.reset();
}

}  // namespace

void RunExchange(S3Exchange& exchange, const std::stop_token& stop) {
  Work work{.exchange = exchange};
  auto ending = std::make_shared<Ending>();
  {
    std::stop_callback on_stop(stop, [&] { work.stopped.Set(); });
    std::shared_ptr<void> tell(nullptr, [ending](void*) { ending->Set(); });
    async::Spawn(exchange.connection.executor, RunAndTell(work, std::move(tell)),
                 "a request to a store");
    ending->Wait();
  }
  if (work.done) return;
  exchange.keep = false;
  if (stop.stop_requested()) {
    exchange.response = Fail(Code::kCancelled, "cancelled");
    return;
  }
  exchange.timed_out = true;
  exchange.response = Fail(
      Code::kUnavailable,
      work.idle ? fmt::format("nothing has come or gone for {} ms", exchange.idle_limit.count())
                : std::string("no answer in time"));
}

}  // namespace atl::blob
