// SPDX-License-Identifier: Apache-2.0
// One server from its start to its end: found or started, watched, started again.
#include <fmt/format.h>

#include <algorithm>

#include "base/counted.h"
#include "base/log.h"
#include "opencode/launch.h"
#include "opencode/server_impl.h"

namespace atl::opencode {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{30'000};
constexpr milliseconds kSuspendedPause{50};
// A server that was healthy for this long has earned a quick restart.
constexpr milliseconds kLongHealthy{60'000};
// One that fails so often in a row is left alone until somebody asks for it.
constexpr int kRestarts = 6;

milliseconds Pause(int failures) {
  if (failures == 0) return milliseconds(0);
  return std::min(kLongestPause, kFirstPause * (1 << std::min(failures - 1, 10)));
}

async::Task<> WaitForEndInto(sandbox::AgentClient& agent, std::string& why) {
  why = co_await WaitForEnd(agent);
}

async::Task<> WaitForHangInto(sandbox::AgentClient& agent, std::function<bool()> runs,
                              WatchdogOptions options, bool& hangs) {
  HealthProbe probe = [&agent](milliseconds limit) { return IsHealthy(agent, limit); };
  co_await WaitForHang(std::move(probe), std::move(runs), options);
  hangs = true;
}

}  // namespace

std::shared_ptr<async::Event> Servers::Impl::Begin(const std::shared_ptr<Impl>& self,
                                                   const ServerPtr& server) {
  std::shared_ptr<async::Event> settled;
  uint64_t number = 0;
  milliseconds pause{0};
  {
    std::lock_guard lock(self->mutex);
    if (server->status == Status::kReady) return nullptr;
    if (server->status == Status::kStarting) return server->settled;
    number = server->number = ++self->last_number;
    server->status = Status::kStarting;
    server->waited = {};
    settled = server->settled = std::make_shared<async::Event>();
    auto left = std::chrono::ceil<milliseconds>(server->retry_at - Clock::now());
    if (server->failures > 0) pause = std::clamp(left, milliseconds(0), kLongestPause);
  }
  async::Spawn(self->runtime.NextShard(), Serve(self, server, number, pause), "OpenCode");
  return settled;
}

async::Task<> Servers::Impl::Serve(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number,
                                   milliseconds pause) {
  if (pause.count() > 0) co_await async::Sleep(pause);
  while (self->IsSuspended(server)) co_await async::Sleep(kSuspendedPause);
  std::string id = self->IdOf(server);
  sandbox::Waited waited;
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox = co_await self->registry.Acquire(id, &waited);
  if (!sandbox) {
    co_await NoteFailure(self, server, number, std::move(sandbox).error());
    co_return;
  }
  self->Update(server, number, [&waited](Server& one) { one.waited = waited; });
  // Not before there is room for the sandbox itself, or those that wait for it would take it.
  Result<void> up;
  {
    Counted booting(self->boots);
    up = co_await BringUp((*sandbox)->agent(), self->options);
  }
  if (!up) {
    co_await NoteFailure(self, server, number, std::move(up).error());
    co_await StartAgain(self, server, number);
    co_return;
  }
  self->NoteReady(server, number);
  // From here on it is watched, not used: that OpenCode runs keeps no sandbox awake.
  sandbox->reset();
  co_await Follow(std::move(self), std::move(server), number);
}

void Servers::Impl::Take(const std::shared_ptr<Impl>& self, const ServerPtr& server) {
  uint64_t number = 0;
  {
    std::lock_guard lock(self->mutex);
    Reset(*server);
    number = server->number = ++self->last_number;
    server->settled = std::make_shared<async::Event>();
  }
  self->NoteReady(server, number);
  async::Spawn(self->runtime.NextShard(), FollowTaken(self, server, number), "OpenCode");
}

async::Task<> Servers::Impl::FollowTaken(std::shared_ptr<Impl> self, ServerPtr server,
                                         uint64_t number) {
  {
    // Until it may be used.
    Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
        co_await self->registry.Acquire(self->IdOf(server));
    if (!sandbox) {
      co_await NoteFailure(self, server, number, std::move(sandbox).error());
      co_return;
    }
  }
  co_await Follow(std::move(self), std::move(server), number);
}

async::Task<> Servers::Impl::Follow(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number) {
  std::shared_ptr<sandbox::Sandbox> observed = self->registry.Observe(self->IdOf(server));
  if (!observed) {
    self->NoteStop(server, number);
    co_return;
  }
  sandbox::AgentClient& agent = observed->agent();
  std::string why;
  bool hangs = false;
  auto runs = [self, server] { return self->Runs(server); };
  co_await async::Race(WaitForEndInto(agent, why),
                       WaitForHangInto(agent, runs, self->options.watchdog, hangs));
  // One that ended with its sandbox has not failed.
  if (self->registry.Observe(self->IdOf(server)) != observed) {
    self->NoteStop(server, number);
    co_return;
  }
  if (hangs) why = "it answers nobody";
  co_await NoteEnd(self, server, number, why);
  // A request that comes now waits out the pause, and the new server does not meet the old one.
  if (hangs) co_await Kill(agent);
  co_await StartAgain(self, server, number);
}

// Starts it again by itself if it had been ready once, after the pause that it has earned.
async::Task<> Servers::Impl::StartAgain(std::shared_ptr<Impl> self, ServerPtr server,
                                        uint64_t number) {
  milliseconds pause{0};
  bool again = false;
  self->Update(server, number, [&](Server& one) {
    again = one.was_ready && one.failures < kRestarts;
    pause = std::chrono::ceil<milliseconds>(one.retry_at - Clock::now());
  });
  if (!again) co_return;
  if (pause.count() > 0) co_await async::Sleep(pause);
  // One that sleeps or has stopped is not woken for it: the next request does that.
  if (!self->Runs(server)) co_return;
  bool current = self->Update(server, number, [](Server& /*one*/) {});
  if (current) Begin(self, server);
}

async::Task<> Servers::Impl::Tell(std::shared_ptr<Impl> self, ServerPtr server, std::string what) {
  auto append = [&self, &server, &what] {
    return self->registry.events().Append(server->iid, self->IdOf(server), "opencode", what);
  };
  Result<void> told = co_await self->registry.blocking().Run(append);
  if (!told) log::Warning("{}", told.error().message);
}

async::Task<> Servers::Impl::NoteFailure(std::shared_ptr<Impl> self, ServerPtr server,
                                         uint64_t number, Error error) {
  log::Warning("sandbox {}: {}", self->IdOf(server), error.message);
  std::string what = "it could not be started: " + error.message;
  bool current = self->Update(server, number, [&](Server& one) {
    one.status = Status::kFailed;
    one.failure = std::move(error);
    one.retry_at = Clock::now() + Pause(++one.failures);
    one.settled->Set();
  });
  if (current) co_await Tell(self, server, std::move(what));
}

void Servers::Impl::NoteStop(const ServerPtr& server, uint64_t number) {
  Update(server, number, [](Server& one) {
    one.status = Status::kStopped;
    one.failures = 0;
  });
}

void Servers::Impl::NoteReady(const ServerPtr& server, uint64_t number) {
  Update(server, number, [](Server& one) {
    one.status = Status::kReady;
    one.was_ready = true;
    one.failure.reset();
    one.ready_since = Clock::now();
    one.settled->Set();
  });
}

async::Task<> Servers::Impl::NoteEnd(std::shared_ptr<Impl> self, ServerPtr server, uint64_t number,
                                     std::string why) {
  // That it ends with its sandbox is no failure of its own.
  bool alone = self->Runs(server);
  milliseconds pause{0};
  bool current = self->Update(server, number, [&](Server& one) {
    one.status = Status::kStopped;
    if (!alone) return;
    if (Clock::now() - one.ready_since > kLongHealthy) one.failures = 0;
    pause = Pause(++one.failures);
    one.retry_at = Clock::now() + pause;
  });
  if (!current) co_return;
  std::string id = self->IdOf(server);
  if (!alone) {
    log::Info("sandbox {}: OpenCode has ended with it: {}", id, why);
    co_return;
  }
  log::Warning("sandbox {}: OpenCode is started again in {} ms: {}", id, pause.count(), why);
  co_await Tell(self, server, fmt::format("it is started again in {} ms: {}", pause.count(), why));
}

}  // namespace atl::opencode
