// SPDX-License-Identifier: Apache-2.0
#include "sandbox/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "crypto/bytes.h"
#include "http/sse.h"
#include "sandbox/files.h"

namespace atl::api::sdk {
namespace {

// How soon a daemon that ends is noticed.
constexpr std::chrono::milliseconds kLook{1'000};
constexpr int kLooksPerHeartbeat = 15;
constexpr size_t kMostGlobs = 100;
constexpr std::array<std::string_view, 6> kEventTypes = {"create",    "modify",  "delete",
                                                         "move_from", "move_to", "attrib"};

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

struct Wanted {
  sandbox::WatchFiles what;
  std::string session;
  std::vector<std::string> events;  // empty: all
};

Result<Wanted> ParseWatch(Call& call) {
  const json::Object& body = call.body;
  Wanted wanted;
  ASSIGN(wanted.what.path, RequiredText(body, "path"));
  call.About("path", wanted.what.path);
  TRY(sandbox::AbsolutePath(wanted.what.path));
  ASSIGN(wanted.session, SessionOf(body));
  ASSIGN(std::optional<bool> recursive, body.OptionalBool("recursive"));
  wanted.what.recursive = recursive.value_or(true);
  ASSIGN(auto include, body.OptionalTextList("include"));
  ASSIGN(auto exclude, body.OptionalTextList("exclude"));
  ASSIGN(auto events, body.OptionalTextList("events"));
  bool includes = include && !include->empty();
  if (includes && exclude && !exclude->empty()) {
    return Invalid("give \"include\" or \"exclude\", and not both");
  }
  bool usual = !includes && !exclude;
  if (includes) wanted.what.include = *std::move(include);
  if (exclude) wanted.what.exclude = *std::move(exclude);
  if (usual) wanted.what.exclude = {".git", "node_modules", ".DS_Store"};
  if (wanted.what.include.size() > kMostGlobs || wanted.what.exclude.size() > kMostGlobs) {
    return Invalid(fmt::format("there are more than {} patterns", kMostGlobs));
  }
  if (events) wanted.events = *std::move(events);
  for (const std::string& event : wanted.events) {
    if (std::ranges::find(kEventTypes, event) == kEventTypes.end()) {
      return Invalid(fmt::format("there is no event \"{:.40}\"", event));
    }
  }
  return wanted;
}

std::string WatchingText(const sandbox::FileWatch& watch) {
  json::Writer writer;
  writer.BeginObject().Field("type", "watching").Field("path", watch.path());
  writer.Field("watchId", crypto::RandomHex(8)).EndObject();
  return http::EventText(writer.Take());
}

std::string LastText(std::string_view type, std::string_view member, std::string_view why) {
  json::Writer writer;
  writer.BeginObject().Field("type", type).Field(member, why).EndObject();
  return http::EventText(writer.Take());
}

struct Watched {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is watched
  std::unique_ptr<sandbox::FileWatch> watch;
  std::vector<std::string> events;
};

// False: some were lost.
bool AppendEvents(const Watched& watched, const std::vector<sandbox::FileEvent>& events,
                  std::string& text) {
  std::string now = Now();
  for (const sandbox::FileEvent& event : events) {
    if (event.kind == sandbox::FileEventKind::kOverflow) return false;
    std::string_view name = sandbox::EventName(event.kind);
    bool told =
        watched.events.empty() || std::ranges::find(watched.events, name) != watched.events.end();
    if (!told) continue;
    json::Writer writer;
    writer.BeginObject().Field("type", "event").Field("eventType", name);
    writer.Field("path", watched.watch->PathOf(event)).Field("isDirectory", event.directory);
    writer.Field("timestamp", now).EndObject();
    text += http::EventText(writer.Take());
  }
  return true;
}

// Until what is watched is gone, or the daemon or the sandbox ends. True: the client has all of it.
async::Task<> SendEvents(Watched& watched, http::Exchange& exchange, bool& complete) {
  std::string text = WatchingText(*watched.watch);
  for (int quiet = 0;;) {
    if (!text.empty()) {
      Result<void> sent = co_await exchange.Write(text);
      if (!sent) co_return;
      text.clear();
    }
    auto events = co_await watched.watch->Next(kLook);
    std::string last;
    if (!events) {
      last = LastText("error", "error", events.error().message);
    } else if (exchange.draining()) {
      last = LastText("stopped", "reason", "the daemon ends or is replaced: watch again");
    } else if (*events && (*events)->empty()) {
      last = LastText("stopped", "reason", "what was watched is gone");
    } else if (*events && !AppendEvents(watched, **events, text)) {
      last = text + LastText("stopped", "reason", "events were lost: watch again");
    }
    if (!last.empty()) {
      Result<void> sent = co_await exchange.Write(last);
      if (sent) sent = co_await exchange.Finish();
      complete = sent.has_value();
      co_return;
    }
    quiet = *events ? 0 : quiet + 1;
    if (quiet == kLooksPerHeartbeat) {
      text = ": still here\n\n";
      quiet = 0;
    }
  }
}

async::Task<Result<Watched>> BeginWatch(Call& call) {
  CO_ASSIGN(Wanted wanted, ParseWatch(call));
  Watched watched;
  watched.events = std::move(wanted.events);
  CO_ASSIGN(watched.sandbox, co_await Use(call));
  sandbox::AgentClient& agent = watched.sandbox->agent();
  CO_ASSIGN(wanted.what.path,
            co_await PathFrom(agent, wanted.session, std::move(wanted.what.path)));
  CO_ASSIGN(watched.watch, co_await sandbox::Watch(agent, std::move(wanted.what)));
  co_return watched;
}

async::Task<> DoWatch(Call& call) {
  Result<Watched> watched = co_await BeginWatch(call);
  if (!watched) {
    co_await RespondFailure(call.exchange, std::move(watched).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  if (!begun) co_return;
  bool complete = false;
  co_await async::Race(SendEvents(*watched, call.exchange, complete),
                       call.exchange.WaitForHangup());
  if (!complete) call.exchange.Abort();
}

async::Task<Result<std::string>> DoCheck(Call& call) {
  CO_ASSIGN(Wanted wanted, ParseWatch(call));
  CO_ASSIGN(std::optional<std::string> since, call.body.OptionalText("since"));
  CO_ASSIGN(auto sandbox, co_await Use(call));
  sandbox::ReadTreeState what{.recursive = wanted.what.recursive,
                              .exclude = std::move(wanted.what.exclude)};
  CO_ASSIGN(what.path, co_await PathFrom(sandbox->agent(), wanted.session, wanted.what.path));
  CO_ASSIGN(sandbox::TreeVersion now,
            co_await sandbox::CheckChanges(sandbox->agent(), std::move(what),
                                           std::move(wanted.what.include), since.value_or("")));
  json::Writer writer = Success();
  if (!since || now.status == sandbox::ChangeStatus::kUnchanged) {
    // Without an earlier version there is nothing that could differ.
    writer.Field("status", "unchanged");
  } else if (now.status == sandbox::ChangeStatus::kChanged) {
    writer.Field("status", "changed");
  } else {
    writer.Field("status", "resync").Field("reason", "expired");
  }
  writer.Field("version", now.version);
  co_return Finished(writer);
}

}  // namespace

async::Task<> WatchFiles(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoWatch, services, std::move(values), exchange);
}

async::Task<> CheckChanges(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCheck, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
