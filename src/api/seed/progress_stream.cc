// SPDX-License-Identifier: Apache-2.0
#include "api/seed/progress_stream.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "async/mutex.h"
#include "http/sse.h"
#include "json/writer.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// What is over sooner gets a plain status, whatever went wrong.
constexpr milliseconds kBeforeStream{250};
constexpr milliseconds kBetween{200};

// Shared by the work and by who reports it; either may be gone first.
struct Feed {
  std::mutex mutex;
  snapshot::Progress latest;
  std::string phase;  // latest.phase, owned
  std::optional<Result<std::string>> result;
  async::Event done;
  Clock::time_point begin = Clock::now();
};

async::Task<> Work(std::shared_ptr<Feed> feed, ProgressWork work) {
  snapshot::OnProgress on_progress = [feed](const snapshot::Progress& progress) {
    std::lock_guard lock(feed->mutex);
    feed->latest = progress;
    feed->phase = progress.phase;
  };
  Result<std::string> result = co_await work(std::move(on_progress));
  {
    std::lock_guard lock(feed->mutex);
    feed->result = std::move(result);
  }
  feed->done.Set();
}

async::Task<> WaitDone(std::shared_ptr<Feed> feed) { co_await feed->done.Wait(); }

std::string ProgressJson(Feed& feed) {
  std::lock_guard lock(feed.mutex);
  const snapshot::Progress& latest = feed.latest;
  double seconds = std::chrono::duration<double>(Clock::now() - feed.begin).count();
  json::Writer writer;
  writer.BeginObject().Field("type", "progress").Field("phase", feed.phase);
  writer.Field("filesDone", latest.files_done).Field("filesTotal", latest.files_total);
  writer.Field("bytesDone", latest.bytes_done).Field("bytesTotal", latest.bytes_total);
  if (seconds > 0.1 && latest.bytes_done > 0) {
    double rate = static_cast<double>(latest.bytes_done) / seconds;
    writer.Field("bytesPerSecond", rate);
    if (latest.bytes_total > latest.bytes_done) {
      writer.Field("secondsLeft",
                   static_cast<double>(latest.bytes_total - latest.bytes_done) / rate);
    }
  }
  writer.EndObject();
  return writer.Take();
}

std::string FinalJson(const Result<std::string>& result) {
  if (result) {
    // An object's members behind one more.
    return R"({"type":"complete",)" + result->substr(1);
  }
  metrics::CountError(ReasonOf(result.error()));
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("code", ReasonOf(result.error()));
  writer.Field("message", result.error().message).EndObject();
  return writer.Take();
}

async::Task<> Answer(http::Exchange& exchange, Result<std::string> result) {
  if (result) {
    Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(*result));
    (void)sent;  // the client has gone away
  } else {
    co_await http::RespondError(exchange, std::move(result).error());
  }
}

async::Task<Result<void>> StreamEvents(http::Exchange& exchange, std::shared_ptr<Feed> feed) {
  http::ResponseHead head = http::EventStreamHead();
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  CO_TRY(co_await exchange.StartResponse(std::move(head)));
  while (!feed->done.is_set()) {
    std::string event = http::EventText(ProgressJson(*feed));
    CO_TRY(co_await exchange.Write(event));
    co_await async::WithTimeout(kBetween, WaitDone(feed));
  }
  std::string last;
  {
    std::lock_guard lock(feed->mutex);
    last = http::EventText(FinalJson(*feed->result));
  }
  CO_TRY(co_await exchange.Write(last));
  Result<void> finished = co_await exchange.Finish();
  co_return finished;
}

}  // namespace

async::Task<> RespondWithProgress(http::Exchange& exchange, ProgressWork work) {
  bool stream =
      http::ListContains(exchange.request().headers.Joined("Accept"), "text/event-stream");
  auto feed = std::make_shared<Feed>();
  async::Executor executor = co_await async::ThisExecutor();
  async::Spawn(executor, Work(feed, std::move(work)), "a snapshot or restore");
  if (stream) {
    co_await async::WithTimeout(kBeforeStream, WaitDone(feed));
  } else {
    co_await feed->done.Wait();
  }
  if (feed->done.is_set()) {
    std::optional<Result<std::string>> result;
    {
      std::lock_guard lock(feed->mutex);
      result = feed->result;
    }
    bool as_stream = stream && result->has_value();
    if (!as_stream) {
      co_await Answer(exchange, std::move(*result));
      co_return;
    }
  } else if (!stream) {
    co_return;  // cancelled
  }
  Result<void> streamed = co_await StreamEvents(exchange, feed);
  if (!streamed) exchange.Abort();
}

}  // namespace atl::api
