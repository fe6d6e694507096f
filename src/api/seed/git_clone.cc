// SPDX-License-Identifier: Apache-2.0
// Cloning, whose progress a client may follow. A client that leaves ends it.
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "api/seed/actions.h"
#include "api/seed/requests.h"
#include "async/mutex.h"
#include "http/sse.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

using std::chrono::milliseconds;

// What is over sooner gets a plain status, whatever went wrong.
constexpr milliseconds kBeforeStream{250};
constexpr milliseconds kBetween{200};

struct Cloning {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  sandbox::CloneRequest request;
};

async::Task<Result<Cloning>> Prepare(const Services& services, std::string id,
                                     http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  Cloning cloning;
  CO_ASSIGN(cloning.request, ParseClone(body));
  CO_TRY(sandbox::ValidateClone(cloning.request));
  CO_ASSIGN(cloning.sandbox, co_await AcquireFor(services, std::move(id), exchange));
  co_return cloning;
}

// Of the clone and of who reports it, which run on one shard.
struct Feed {
  std::optional<sandbox::GitProgress> latest;  // that was not told
  Result<sandbox::CloneResult> result = Fail(Code::kCancelled, "the client has gone away");
  async::Event done;
};

async::Task<> Work(std::shared_ptr<Feed> feed, Cloning cloning, bool progress) {
  sandbox::OnGitProgress on_progress;
  if (progress) on_progress = [feed](const sandbox::GitProgress& now) { feed->latest = now; };
  feed->result = co_await sandbox::GitClone(std::move(cloning.sandbox), std::move(cloning.request),
                                            std::move(on_progress));
  feed->done.Set();
}

async::Task<> WaitDone(std::shared_ptr<Feed> feed) { co_await feed->done.Wait(); }

void WriteResult(json::Writer& writer, const sandbox::CloneResult& result) {
  writer.Field("repo", result.repo).Field("dir", result.dir);
  writer.Field("branch", result.branch).Field("commit", result.commit);
}

std::string ProgressText(const sandbox::GitProgress& progress) {
  json::Writer writer;
  writer.BeginObject().Field("type", "progress").Field("phase", progress.phase);
  writer.Field("done", progress.done).Field("total", progress.total).EndObject();
  return http::EventText(writer.Take());
}

std::string LastText(const Result<sandbox::CloneResult>& result) {
  json::Writer writer;
  writer.BeginObject();
  if (result) {
    writer.Field("type", "complete");
    WriteResult(writer, *result);
  } else {
    metrics::CountError(ReasonOf(result.error()));
    writer.Field("type", "error").Field("code", ReasonOf(result.error()));
    writer.Field("message", result.error().message);
  }
  writer.EndObject();
  return http::EventText(writer.Take());
}

async::Task<Result<void>> StreamEvents(http::Exchange& exchange, std::shared_ptr<Feed> feed) {
  http::ResponseHead head = http::EventStreamHead();
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  CO_TRY(co_await exchange.StartResponse(std::move(head)));
  while (!feed->done.is_set()) {
    if (feed->latest) {
      std::string event = ProgressText(*std::exchange(feed->latest, std::nullopt));
      CO_TRY(co_await exchange.Write(event));
    }
    co_await async::WithTimeout(kBetween, WaitDone(feed));
  }
  std::string last = feed->latest ? ProgressText(*feed->latest) : std::string();
  last += LastText(feed->result);
  CO_TRY(co_await exchange.Write(last));
  Result<void> finished = co_await exchange.Finish();
  co_return finished;
}

async::Task<> Answer(http::Exchange& exchange, std::shared_ptr<Feed> feed, bool stream) {
  if (stream) {
    co_await async::WithTimeout(kBeforeStream, WaitDone(feed));
    if (!feed->done.is_set() || feed->result) {
      Result<void> streamed = co_await StreamEvents(exchange, feed);
      if (!streamed) exchange.Abort();
      co_return;
    }
  }
  co_await feed->done.Wait();
  if (!feed->result) {
    co_await http::RespondError(exchange, std::move(feed->result).error());
    co_return;
  }
  json::Writer writer;
  writer.BeginObject();
  WriteResult(writer, *feed->result);
  writer.EndObject();
  Result<void> sent = co_await http::RespondJson(exchange, 200, writer.Take());
  (void)sent;  // the client has gone away
}

async::Task<> WorkAndAnswer(http::Exchange& exchange, Cloning cloning, bool stream) {
  auto feed = std::make_shared<Feed>();
  co_await async::Both(Work(feed, std::move(cloning), stream), Answer(exchange, feed, stream));
}

}  // namespace

async::Task<> GitClone(const Services& services, std::string id, http::Exchange& exchange) {
  Result<Cloning> cloning = co_await Prepare(services, std::move(id), exchange);
  if (!cloning) {
    co_await http::RespondError(exchange, std::move(cloning).error());
    co_return;
  }
  bool stream =
      http::ListContains(exchange.request().headers.Joined("Accept"), "text/event-stream");
  co_await async::Race(WorkAndAnswer(exchange, *std::move(cloning), stream),
                       exchange.WaitForHangup());
}

}  // namespace atl::api
