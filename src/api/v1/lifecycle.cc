// SPDX-License-Identifier: Apache-2.0
#include "api/v1/lifecycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "api/seed/output_events.h"
#include "api/v1/file_json.h"
#include "api/v1/route.h"
#include "http/sse.h"
#include "json/reader.h"
#include "sandbox/id.h"
#include "snapshot/policy.h"

namespace atl::api {
namespace {

constexpr size_t kMaxListed = 1000;
constexpr size_t kDefaultListed = 200;
constexpr std::chrono::milliseconds kHeartbeat{15'000};

async::Task<Result<json::Object>> ReadObject(http::Exchange& exchange) {
  CO_ASSIGN(std::string body, co_await exchange.ReadBody(kMaxBodyBytes));
  co_return json::Object::Parse(body, true);
}

async::Task<> RespondState(const Services& services, const std::string& id,
                           http::Exchange& exchange) {
  std::optional<sandbox::Info> info = services.registry.Find(id);
  json::Writer writer;
  writer.BeginObject().Field("id", id);
  writer.Field("state", info ? sandbox::StateName(info->state) : "deleted").EndObject();
  Result<void> sent = co_await http::RespondJson(exchange, 200, writer.Take());
  (void)sent;  // the client has gone away
}

async::Task<Result<void>> DoSleep(const Services& services, std::string id,
                                  http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadObject(exchange));
  CO_ASSIGN(std::optional<bool> force, body.OptionalBool("force"));
  Result<void> asleep = co_await services.registry.Sleep(std::move(id), force.value_or(false));
  co_return asleep;
}

void WriteEvent(json::Writer& writer, const sandbox::Event& event) {
  writer.BeginObject().Field("seq", event.seq).Field("at", IsoTime(event.at_ms));
  writer.Field("id", event.id).Field("kind", event.kind);
  if (!event.state.empty()) writer.Field("state", event.state);
  if (!event.detail.empty()) writer.Field("detail", event.detail);
  writer.EndObject();
}

Result<std::optional<int64_t>> ParseSeq(std::string_view name, std::string_view text) {
  int64_t seq = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seq);
  if (error != std::errc() || end != text.data() + text.size() || seq < 0) {
    return Fail(Code::kInvalidArgument, fmt::format("\"{}\" must be a number of an event", name),
                "VALIDATION_FAILED");
  }
  return std::optional<int64_t>(seq);
}

// Where a client wants to go on; nothing: with the latest.
Result<std::optional<int64_t>> AfterOf(const http::RequestHead& request) {
  std::string last = request.headers.Joined("Last-Event-ID");
  if (!last.empty()) return ParseSeq("Last-Event-ID", last);
  std::string after = Query(request, "after");
  if (!after.empty()) return ParseSeq("after", after);
  return std::optional<int64_t>();
}

async::Task<Result<std::vector<sandbox::Event>>> ReadEvents(const Services& services,
                                                            std::string id,
                                                            std::optional<int64_t> after) {
  auto read = [&services, &id, after] {
    sandbox::EventLog& log = services.registry.events();
    return after ? log.After(id, *after, kMaxListed) : log.Last(id, kDefaultListed);
  };
  Result<std::vector<sandbox::Event>> events = co_await services.registry.blocking().Run(read);
  co_return events;
}

async::Task<> WaitFor(std::shared_ptr<async::Event> next) { co_await next->Wait(); }

// An event of the stream: its number is what a client comes back with.
std::string StreamText(const sandbox::Event& event) {
  json::Writer writer;
  WriteEvent(writer, event);
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.kind, writer.Take());
}

async::Task<> SendEvents(const Services& services, std::string id, std::optional<int64_t> after,
                         http::Exchange& exchange) {
  while (true) {
    std::shared_ptr<async::Event> next = services.registry.events().Next();
    Result<std::vector<sandbox::Event>> events = co_await ReadEvents(services, id, after);
    if (!events) co_return;
    std::string text;
    for (const sandbox::Event& event : *events) {
      text += StreamText(event);
      after = event.seq;
    }
    if (!after) after = 0;
    if (!text.empty()) {
      Result<void> sent = co_await exchange.Write(text);
      if (!sent) co_return;
    }
    if (events->size() == kMaxListed) continue;
    bool more = co_await async::WithTimeout(kHeartbeat, WaitFor(next));
    if (more) continue;
    Result<void> alive = co_await exchange.Write(": still here\n\n");
    if (!alive) co_return;
  }
}

}  // namespace

void WriteSleepPolicy(json::Writer& writer, const sandbox::SleepPolicy& policy) {
  writer.Field("sleepAfter", snapshot::FormatDuration(policy.after));
  writer.Field("stopAfter", snapshot::FormatDuration(policy.stop_after));
  writer.Field("keepAlive", policy.keep_alive);
}

async::Task<> Sleep(const Services& services, std::string id, http::Exchange& exchange) {
  Result<void> asleep = co_await DoSleep(services, id, exchange);
  if (asleep) {
    co_await RespondState(services, id, exchange);
  } else {
    co_await http::RespondError(exchange, std::move(asleep).error());
  }
}

async::Task<> Wake(const Services& services, std::string id, http::Exchange& exchange) {
  sandbox::Waited waited;
  Result<void> awake = co_await services.registry.Wake(id, &waited);
  waited.SayIn(exchange);
  if (awake) {
    co_await RespondState(services, id, exchange);
  } else {
    co_await http::RespondError(exchange, std::move(awake).error());
  }
}

async::Task<Result<sandbox::Info>> Change(const Services& services, std::string id,
                                          http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadObject(exchange));
  CO_ASSIGN(std::optional<json::Object> snapshots, body.OptionalObject("snapshots"));
  sandbox::Changes changes;
  if (sandbox::NamesSleepPolicy(body)) {
    changes.sleep = [&body](const sandbox::SleepPolicy& now) {
      return sandbox::ParseSleepPolicy(body, now);
    };
  }
  if (snapshots) {
    changes.snapshots = [&snapshots](const snapshot::AutoPolicy& now) {
      return snapshot::ParseAutoPolicy(*snapshots, now);
    };
  }
  if (!changes.sleep && !changes.snapshots) {
    co_return Fail(Code::kInvalidArgument,
                   R"(nothing to change: "sleepAfter", "stopAfter", "keepAlive" or "snapshots")",
                   "VALIDATION_FAILED");
  }
  Result<sandbox::Info> info = co_await services.registry.Change(std::move(id), std::move(changes));
  co_return info;
}

async::Task<> Events(const Services& services, std::string id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Result<std::optional<int64_t>> after = AfterOf(request);
  Result<std::vector<sandbox::Event>> events =
      Fail(Code::kInternal, "the events have not been read");
  if (after) events = co_await ReadEvents(services, id, *after);
  if (!after || !events) {
    co_await http::RespondError(exchange,
                                after ? std::move(events).error() : std::move(after).error());
    co_return;
  }
  // What has happened to one that is gone can still be read.
  if (events->empty() && !services.registry.Find(id) && !*after) {
    co_await http::RespondError(exchange, sandbox::NoSuchSandbox(id));
    co_return;
  }
  bool stream = request.headers.Joined("Accept").contains("text/event-stream") ||
                QueryFlag(request, "follow");
  if (!stream || request.method == "HEAD") {
    json::Writer writer;
    writer.BeginObject().Key("events").BeginArray();
    for (const sandbox::Event& event : *events) WriteEvent(writer, event);
    writer.EndArray().EndObject();
    Result<void> sent = co_await http::RespondJson(exchange, 200, writer.Take());
    (void)sent;  // the client has gone away
    co_return;
  }
  Result<void> begun = co_await exchange.StartResponse(http::EventStreamHead());
  if (begun) {
    co_await async::Race(SendEvents(services, std::move(id), *after, exchange),
                         exchange.WaitForHangup());
  }
  exchange.Abort();
}

}  // namespace atl::api
