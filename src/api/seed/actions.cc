// SPDX-License-Identifier: Apache-2.0
#include "api/seed/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "api/seed/requests.h"
#include "api/seed/run_stream.h"
#include "json/reader.h"
#include "metrics/atoll.h"
#include "sandbox/git_clone.h"
#include "sandbox/run.h"

namespace atl::api {
namespace {

async::Task<Result<json::Object>> ReadObject(http::Exchange& exchange) {
  CO_ASSIGN(std::string body, co_await exchange.ReadBody(kMaxBodyBytes));
  co_return json::Object::Parse(body, true);
}

// `total` stays the last one and the sum.
void AddPhase(sandbox::Phases& phases, std::string name, double ms) {
  auto total = std::ranges::find(phases, "total", &sandbox::Phases::value_type::first);
  if (total != phases.end()) total->second += ms;
  phases.emplace(total, std::move(name), ms);
}

async::Task<> CreateInto(const Services& services, std::string id, sandbox::CreateOptions options,
                         Result<sandbox::Registry::Created>& result) {
  result = co_await services.registry.Create(std::move(id), std::move(options));
}

async::Task<Result<std::string>> DoCreate(const Services& services, std::string id,
                                          json::Object body, http::Exchange& exchange) {
  CO_ASSIGN(CreateRequest request, ParseCreate(body, services.registry.default_policy(),
                                               services.registry.default_sleep()));
  request.options.with_opencode = request.opencode.value_or(false);
  auto wait = PreferredWait(exchange.request().headers.Joined("Prefer"));
  request.options.wait = std::max(request.options.wait, wait);
  Result<sandbox::Registry::Created> result = Fail(Code::kCancelled, "the client has gone away");
  if (request.options.wait.count() > 0) {
    // Who has gone away gives up the place in the queue.
    co_await async::Race(CreateInto(services, id, std::move(request.options), result),
                         exchange.WaitForHangup());
  } else {
    result = co_await services.registry.Create(id, std::move(request.options));
  }
  CO_ASSIGN(sandbox::Registry::Created created, std::move(result));
  sandbox::Waited waited = created.waited;
  if (!request.opencode) {
    services.servers.Start(id);
  } else if (*request.opencode) {
    auto begin = std::chrono::steady_clock::now();
    CO_TRY(co_await services.servers.WaitReady(id, kOpencodeLimit));
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    AddPhase(created.phases, "opencode", took.count());
    waited.opencode_ms += took.count();
  }
  waited.SayIn(exchange);
  co_return CreatedJson(services, created, exchange.request());
}

// A failure of writing means that the client has gone away.
async::Task<> Answer(http::Exchange& exchange, Result<std::string> json) {
  if (json) {
    Result<void> sent = co_await http::RespondJson(exchange, 200, std::move(*json));
    (void)sent;
  } else {
    co_await http::RespondError(exchange, std::move(json).error());
  }
}

struct Runnable {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  sandbox::RunRequest request;
};

async::Task<Result<Runnable>> PrepareRun(const Services& services, std::string id,
                                         http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadObject(exchange));
  Runnable runnable;
  CO_ASSIGN(runnable.request, ParseRun(body));
  CO_TRY(sandbox::ValidateRun(runnable.request));
  CO_ASSIGN(runnable.sandbox, co_await AcquireFor(services, std::move(id), exchange));
  co_return runnable;
}

}  // namespace

async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> AcquireFor(const Services& services,
                                                                  std::string id,
                                                                  http::Exchange& exchange) {
  sandbox::Waited waited;
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
      co_await services.registry.Acquire(std::move(id), &waited);
  waited.SayIn(exchange);
  co_return sandbox;
}

std::string CreatedJson(const Services& services, const sandbox::Registry::Created& created,
                        const http::RequestHead& request) {
  const sandbox::Info& info = created.info;
  json::Writer writer;
  writer.BeginObject().Field("id", info.id).Field("url", SandboxUrl(services, info.id, request));
  writer.Field("state", sandbox::StateName(info.state));
  writer.Field("opencode", OpencodeState(services, info));
  writer.Key("phases").BeginObject();
  for (const auto& [name, ms] : created.phases) writer.Field(name, ms);
  writer.EndObject();
  if (!created.recovered.empty()) {
    writer.Key("restored").BeginArray();
    for (const sandbox::Recovered& one : created.recovered) {
      writer.BeginObject().Field("dir", one.dir).Field("snapshotId", one.snapshot_id);
      writer.Field("files", one.files).EndObject();
    }
    writer.EndArray();
  }
  writer.EndObject();
  return writer.Take();
}

async::Task<> Create(const Services& services, std::string id, http::Exchange& exchange) {
  Result<json::Object> body = co_await ReadObject(exchange);
  if (!body) {
    co_await http::RespondError(exchange, std::move(body).error());
    co_return;
  }
  co_await CreateFrom(services, std::move(id), *std::move(body), exchange);
}

async::Task<> CreateFrom(const Services& services, std::string id, json::Object body,
                         http::Exchange& exchange) {
  Result<std::string> json = co_await DoCreate(services, std::move(id), std::move(body), exchange);
  co_await Answer(exchange, std::move(json));
}

async::Task<> Run(const Services& services, std::string id, http::Exchange& exchange) {
  Result<Runnable> runnable = co_await PrepareRun(services, std::move(id), exchange);
  if (!runnable) {
    co_await http::RespondError(exchange, std::move(runnable).error());
    co_return;
  }
  co_await StreamRun(exchange, std::move(runnable->sandbox), std::move(runnable->request));
}

async::Task<> Delete(const Services& services, std::string id, http::Exchange& exchange) {
  Result<void> deleted = co_await services.registry.Delete(id);
  if (!deleted) {
    co_await http::RespondError(exchange, std::move(deleted).error());
    co_return;
  }
  services.servers.Forget(id);
  http::ResponseHead head;
  head.status = 204;
  head.headers.Add("Cache-Control", "no-store");
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

std::string SandboxUrl(const Services& services, std::string_view id,
                       const http::RequestHead& request) {
  // Behind a bracket: the colons of an IPv6 literal are none of a port.
  std::string_view host = request.host;
  size_t colon = host.find(':', host.starts_with('[') ? host.find(']') : 0);
  std::string_view port = colon == std::string_view::npos ? "" : host.substr(colon);
  bool https = http::EqualsIgnoreCase(request.headers.Joined("X-Forwarded-Proto"), "https");
  return fmt::format("{}://{}.{}{}/", https ? "https" : "http", id, services.domain, port);
}

std::string_view OpencodeState(const Services& services, const sandbox::Info& info) {
  bool lives = info.state == sandbox::State::kRunning || info.state == sandbox::State::kPaused ||
               info.state == sandbox::State::kRestoring;
  if (!lives) return "stopped";
  return opencode::StatusName(services.servers.status(info.id));
}

async::Task<> RespondMethodNotAllowed(http::Exchange& exchange, std::string allow) {
  Error error{.code = Code::kInvalidArgument,
              .message = fmt::format("{} {}: use {}", exchange.request().method,
                                     exchange.request().path(), allow),
              .reason = "METHOD_NOT_ALLOWED"};
  metrics::CountError(error.reason);
  http::ResponseHead head = http::ErrorHead(error);
  head.status = 405;
  head.headers.Add("Allow", std::move(allow));
  Result<void> sent = co_await exchange.Respond(std::move(head), http::ErrorBody(error, &exchange));
  (void)sent;  // the client has gone away
}

}  // namespace atl::api
