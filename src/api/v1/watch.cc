// SPDX-License-Identifier: Apache-2.0
#include "api/v1/watch.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "api/seed/output_events.h"
#include "api/v1/answers/files.h"
#include "api/v1/file_json.h"
#include "http/sse.h"
#include "sandbox/watch.h"

namespace atl::api {
namespace {

// How soon a daemon that ends is noticed.
constexpr std::chrono::milliseconds kLook{1'000};
constexpr int kLooksPerHeartbeat = 15;

std::string Now() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return IsoTime(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

struct Watched {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is watched
  sandbox::KeptFileWatch kept;
  bool recursive = true;
  bool resync = false;  // the client comes back, and what has happened meanwhile is not known
};

// With an id, which a client that comes back names as the last it knows.
std::string EventText(const sandbox::KeptFileWatch& kept, uint64_t number, json::Writer& writer) {
  std::string text;
  if (!kept.id.empty()) {
    text = fmt::format("id: {}\n", sandbox::MarkText({.id = kept.id, .number = number}));
  }
  return text + http::EventText(writer.Take());
}

std::string WatchingText(const Watched& watched) {
  const sandbox::FileWatch& watch = *watched.kept.watch;
  json::Writer writer;
  writer.BeginObject().Field("type", "watching").Field("path", watch.path());
  writer.Field("recursive", watched.recursive).Field("directories", watch.directories());
  writer.Field("resumed", watched.kept.resumed).EndObject();
  std::string text = EventText(watched.kept, watch.number(), writer);
  if (!watched.resync) return text;
  writer = json::Writer();
  writer.BeginObject().Field("type", "resync");
  writer.Field("reason", "what has changed since is not known: look at everything again");
  writer.EndObject();
  return text + http::EventText(writer.Take());
}

std::string StoppedText(std::string_view reason) {
  json::Writer writer;
  writer.BeginObject().Field("type", "stopped").Field("reason", reason).EndObject();
  return http::EventText(writer.Take());
}

std::string FailureText(const Error& error) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("code", ReasonOf(error));
  writer.Field("message", error.message).EndObject();
  return http::EventText(writer.Take());
}

std::string EventsText(const sandbox::KeptFileWatch& kept,
                       const std::vector<sandbox::FileEvent>& events) {
  const sandbox::FileWatch& watch = *kept.watch;
  std::string text;
  std::string now = Now();
  uint64_t number = watch.number() - events.size();
  for (const sandbox::FileEvent& event : events) {
    json::Writer writer;
    writer.BeginObject();
    if (event.kind == sandbox::FileEventKind::kOverflow) {
      writer.Field("type", "overflow");
    } else {
      writer.Field("type", "event").Field("eventType", sandbox::EventName(event.kind));
      writer.Field("path", watch.PathOf(event)).Field("isDirectory", event.directory);
      if (event.cookie != 0) writer.Field("cookie", event.cookie);
    }
    writer.Field("timestamp", now).EndObject();
    text += EventText(kept, ++number, writer);
  }
  return text;
}

// Until what is watched is gone, or the daemon or the sandbox ends. True: the client has all of it.
async::Task<> SendEvents(Watched& watched, http::Exchange& exchange, bool& complete) {
  sandbox::FileWatch& watch = *watched.kept.watch;
  std::string text = WatchingText(watched);
  for (int quiet = 0;;) {
    if (!text.empty()) {
      Result<void> sent = co_await exchange.Write(text);
      if (!sent) co_return;
      text.clear();
    }
    auto events = co_await watch.Next(kLook);
    std::string last;
    if (!events) {
      last = FailureText(events.error());
    } else if (exchange.draining()) {
      last = StoppedText("the daemon ends or is replaced: watch again");
    } else if (*events && (*events)->empty()) {
      last = StoppedText("what was watched is gone");
    }
    if (!last.empty()) {
      Result<void> sent = co_await exchange.Write(last);
      if (sent) sent = co_await exchange.Finish();
      complete = sent.has_value();
      co_return;
    }
    if (*events) {
      text = EventsText(watched.kept, **events);
      quiet = 0;
    } else if (++quiet == kLooksPerHeartbeat) {
      text = ": still here\n\n";
      quiet = 0;
    }
  }
}

async::Task<Result<Watched>> BeginWatch(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Watched watched;
  auto recursive = http::QueryParameter(request.query(), "recursive");
  watched.recursive = !recursive || QueryFlag(request, "recursive");
  std::string path = Query(request, "path");
  sandbox::WatchFiles what{.path = path.empty() ? "/workspace" : path,
                           .user = Query(request, "user"),
                           .recursive = watched.recursive,
                           .include = SplitList(Query(request, "include")),
                           .exclude = SplitList(Query(request, "exclude"))};
  CO_ASSIGN(watched.sandbox, co_await AcquireFor(services, std::move(id), exchange));
  std::string last = request.headers.Joined("Last-Event-ID");
  CO_ASSIGN(watched.kept, co_await sandbox::KeepWatch(watched.sandbox->agent(), std::move(what),
                                                      sandbox::ParseMark(last)));
  watched.resync = !last.empty() && !watched.kept.resumed;
  co_return watched;
}

async::Task<> WatchAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<Watched> watched = co_await BeginWatch(services, std::move(values.at(0)), exchange);
  if (!watched) {
    co_await http::RespondError(exchange, std::move(watched).error());
    co_return;
  }
  Result<void> begun = co_await exchange.StartResponse(http::EventStreamHead());
  bool complete = false;
  if (begun && exchange.request().method == "HEAD") {
    begun = co_await exchange.Finish();
    complete = begun.has_value();
  } else if (begun) {
    co_await async::Race(SendEvents(*watched, exchange, complete), exchange.WaitForHangup());
  }
  if (!complete) exchange.Abort();
}

std::string_view StatusName(sandbox::ChangeStatus status) {
  switch (status) {
    case sandbox::ChangeStatus::kUnchanged:
      return "unchanged";
    case sandbox::ChangeStatus::kChanged:
      return "changed";
    case sandbox::ChangeStatus::kResync:
      return "resync";
  }
  return "resync";
}

async::Task<Result<std::string>> DoChanges(const Services& services, std::string id,
                                           http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  sandbox::ReadTreeState what;
  CO_ASSIGN(what.path, body.Text("path"));
  CO_ASSIGN(auto since, body.OptionalText("since"));
  CO_ASSIGN(auto user, body.OptionalText("user"));
  CO_ASSIGN(auto recursive, body.OptionalBool("recursive"));
  CO_ASSIGN(auto include, body.OptionalTextList("include"));
  CO_ASSIGN(auto exclude, body.OptionalTextList("exclude"));
  if (!include) include.emplace();
  what.user = user.value_or("");
  what.recursive = recursive.value_or(true);
  if (exclude) what.exclude = *std::move(exclude);
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(sandbox::TreeVersion now,
            co_await sandbox::CheckChanges(sandbox->agent(), std::move(what), *std::move(include),
                                           since.value_or("")));
  json::Writer writer;
  writer.BeginObject().Field("status", StatusName(now.status)).Field("version", now.version);
  writer.Field("entries", now.entries).EndObject();
  co_return writer.Take();
}

async::Task<> ChangesAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoChanges(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

constexpr Field kUser{.name = "user", .about = "As whom; root when it is not there."};
constexpr Field kRecursive{
    .name = "recursive", .kind = Kind::kBoolean, .about = "What is below, too; true."};
constexpr Field kWatchQuery[] = {
    {.name = "path",
     .kind = Kind::kPath,
     .about = "A directory or a file; /workspace when it is not there."},
    kRecursive,
    {.name = "include",
     .kind = Kind::kPath,
     .about = "Globs of files, by comma; all when it is not there."},
    {.name = "exclude",
     .kind = Kind::kPath,
     .about = "Globs of what is neither told nor entered, by comma."},
    kUser,
};
// The ids of other watches mean nothing, and are no mistake.
constexpr Field kLastMark[] = {
    {.name = "Last-Event-ID",
     .about = "The id of the last event that came: it goes on behind it."}};
constexpr Field kChangesFields[] = {
    {.name = "path", .about = "Absolute, or relative to /workspace.", .required = true},
    {.name = "since", .about = "The version of the answer before."},
    kRecursive,
    {.name = "include", .kind = Kind::kTextList, .about = "Globs of the files that alone count."},
    {.name = "exclude", .kind = Kind::kTextList, .about = "Globs of what does not count."},
    kUser,
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/watch",
     .operation = "watchFiles",
     .summary = "What changes in a directory, as it happens; with Last-Event-ID, from there on.",
     .handler = WatchAt,
     .answer = Media::kEvents,
     .streams = &answers::kWatchEvent,
     .query = kWatchQuery,
     .headers = kLastMark},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/changes",
     .operation = "checkChanges",
     .summary = "Whether anything in a directory has changed since the last time.",
     .handler = ChangesAt,
     .returns = &answers::kChanges,
     .body = Media::kJson,
     .fields = kChangesFields},
};

}  // namespace

std::span<const Route> WatchRoutes() { return kRoutes; }

}  // namespace atl::api
