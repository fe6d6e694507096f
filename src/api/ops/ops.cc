// SPDX-License-Identifier: Apache-2.0
#include "api/ops/ops.h"

#include <fmt/format.h>

#include <utility>

#include "async/mutex.h"
#include "json/writer.h"
#include "metrics/atoll.h"

namespace atl::api {
namespace {

// A failure of writing means that the client has gone away.
async::Task<> Send(http::Exchange& exchange, int status, std::string json) {
  Result<void> sent = co_await http::RespondJson(exchange, status, std::move(json));
  (void)sent;
}

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

// One look at everything, shared by all who ask while it is under way.
struct Ops::Round {
  struct Outcome {
    std::string name;
    bool ok = false;
    std::string detail;
  };
  std::vector<Outcome> outcomes;  // complete once `done` is set
  async::Event done;
};

Ops::Ops(const metrics::Set& metrics, std::vector<ReadyCheck> checks,
         std::chrono::milliseconds limit)
    : metrics_(metrics), checks_(std::move(checks)), limit_(limit) {}

Ops::~Ops() = default;

std::shared_ptr<Ops::Round> Ops::StartRound() {
  std::lock_guard guard(mutex_);
  if (round_ && !round_->done.is_set()) return round_;
  round_ = std::make_shared<Round>();
  thread_.Post([this, round = round_] {
    for (const ReadyCheck& check : checks_) {
      Result<std::string> found = check.look();
      round->outcomes.push_back({.name = check.name,
                                 .ok = found.has_value(),
                                 .detail = found ? *std::move(found) : found.error().message});
    }
    round->done.Set();
  });
  return round_;
}

async::Task<> Ops::RespondReady(http::Exchange& exchange) {
  std::shared_ptr<Round> round = StartRound();
  co_await async::WithTimeout(limit_, WaitFor(round->done));
  bool ready = round->done.is_set();
  json::Writer checks;
  checks.BeginArray();
  auto add = [&checks](std::string_view name, bool ok, std::string_view detail) {
    checks.BeginObject().Field("name", name).Field("ok", ok).Field("detail", detail).EndObject();
  };
  if (ready) {
    for (const Round::Outcome& one : round->outcomes) {
      ready = ready && one.ok;
      add(one.name, one.ok, one.detail);
    }
  } else {
    add("checks", false, fmt::format("they have not ended within {} ms", limit_.count()));
  }
  checks.EndArray();
  json::Writer writer;
  writer.BeginObject().Field("ready", ready).Key("checks").Raw(checks.Take()).EndObject();
  co_await Send(exchange, ready ? 200 : 503, writer.Take());
}

async::Task<> Ops::RespondHealth(http::Exchange& exchange) {
  auto up = std::chrono::steady_clock::now() - started_;
  json::Writer writer;
  writer.BeginObject().Field("ok", true).Field("status", "ok").Field("version", ATOLL_VERSION);
  writer.Field("uptimeSeconds", std::chrono::duration_cast<std::chrono::seconds>(up).count());
  writer.EndObject();
  co_await Send(exchange, 200, writer.Take());
}

async::Task<> Ops::RespondMetrics(http::Exchange& exchange) {
  http::ResponseHead head;
  head.headers.Add("Content-Type", std::string(metrics::kContentType));
  head.headers.Add("Cache-Control", "no-store");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  Result<void> sent = co_await exchange.Respond(std::move(head), metrics_.Text());
  (void)sent;
}

async::Task<bool> Ops::Handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  std::string path(request.path());
  bool metrics = path == "/metrics";
  bool health = path == "/health";
  if (!metrics && !health && path != "/ready") co_return false;
  if (request.method != "GET" && request.method != "HEAD") {
    Error error{.code = Code::kInvalidArgument,
                .message = fmt::format("{} {}: use GET, HEAD", request.method, path),
                .reason = "METHOD_NOT_ALLOWED"};
    metrics::CountError(error.reason);
    http::ResponseHead head = http::ErrorHead(error);
    head.status = 405;
    head.headers.Add("Allow", "GET, HEAD");
    Result<void> sent =
        co_await exchange.Respond(std::move(head), http::ErrorBody(error, &exchange));
    (void)sent;
  } else if (metrics) {
    co_await RespondMetrics(exchange);
  } else if (health) {
    co_await RespondHealth(exchange);
  } else {
    co_await RespondReady(exchange);
  }
  co_return true;
}

}  // namespace atl::api
