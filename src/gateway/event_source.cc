// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

namespace atl::gateway {
namespace {

using Clock = std::chrono::steady_clock;

// Connections of a sandbox that ends close before it is seen to have ended.
constexpr std::chrono::milliseconds kGrace{500};
constexpr std::chrono::milliseconds kLook{250};
// How exactly it is known when something has last happened.
constexpr std::chrono::seconds kNewsInterval{1};

struct Source {
  sandbox::Registry& registry;
  opencode::Servers& servers;
  std::string id;
  std::string iid;
  bool waits = false;  // it does not come from a stream that broke off
  Clock::time_point last_news = {};

  std::optional<sandbox::State> State() const {
    std::optional<sandbox::Info> info = registry.Find(id);
    if (!info || info->iid != iid || info->state == sandbox::State::kDeleting) return std::nullopt;
    return info->state;
  }
};

// An agent at work may wait for its model for long, and nothing else tells that it does.
async::Task<> NoteNews(std::shared_ptr<Source> source) {
  if (Clock::now() - source->last_news < kNewsInterval) co_return;
  source->last_news = Clock::now();
  if (source->State() != sandbox::State::kRunning) co_return;
  Result<std::shared_ptr<sandbox::Sandbox>> used = co_await source->registry.Acquire(source->id);
  (void)used;  // used, and not any more
}

async::Task<Result<async::Stream>> ConnectAgain(std::shared_ptr<Source> source) {
  bool waits = std::exchange(source->waits, false);
  if (!waits) co_await async::Sleep(kGrace);
  if (!waits && source->State() == sandbox::State::kRunning) {
    // Clients know better what to do then than to wait.
    co_return Fail(Code::kBadGateway, "OpenCode has ended its stream of events");
  }
  for (;;) {
    if (source->servers.retired()) {
      co_return Fail(Code::kUnavailable, "another daemon knows when the sandbox runs again");
    }
    std::optional<sandbox::State> state = source->State();
    if (!state) {
      co_return Fail(Code::kNotFound, fmt::format("sandbox {} is gone", source->id),
                     "SANDBOX_NOT_FOUND");
    }
    bool ready = state == sandbox::State::kRunning &&
                 source->servers.status(source->id) == opencode::Status::kReady;
    std::shared_ptr<sandbox::Sandbox> sandbox;
    if (ready) sandbox = source->registry.Observe(source->id);
    if (sandbox) {
      Result<async::Stream> stream = co_await sandbox->agent().Dial(opencode::kPort);
      if (stream) co_return stream;
    }
    co_await async::Sleep(kLook);
  }
}

}  // namespace

bool IsEventPath(std::string_view path) {
  constexpr std::array<std::string_view, 3> kPaths = {"/event", "/global/event", "/api/event"};
  return std::ranges::find(kPaths, path) != kPaths.end();
}

EventSource SourceOfEvents(sandbox::Registry& registry, opencode::Servers& servers, std::string id,
                           std::string iid, std::shared_ptr<sandbox::Sandbox>* lease) {
  auto source = std::make_shared<Source>(Source{.registry = registry,
                                                .servers = servers,
                                                .id = std::move(id),
                                                .iid = std::move(iid),
                                                .waits = lease == nullptr});
  auto begun = [lease] {
    if (lease != nullptr) lease->reset();
  };
  return {.begun = begun,
          .news = [source] { return NoteNews(source); },
          .again = [source] { return ConnectAgain(source); }};
}

}  // namespace atl::gateway
