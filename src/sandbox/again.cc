// SPDX-License-Identifier: Apache-2.0
// What is done by itself about what went wrong: sandboxes whose first process has ended are cleared
// away; deletes and stops that failed, rows that could not be written, and saving what could not be
// saved are tried again. Each has a pause, which grows.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/pid_one.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kStopAgainPause{10};
constexpr std::chrono::seconds kLongestStopAgainPause{600};
constexpr std::chrono::seconds kSaveAgainPause{30};
constexpr std::chrono::seconds kLongestSaveAgainPause{3600};
constexpr size_t kSavesAtOnce = 4;
// Each keeps a thread for as long as it takes to see that nothing ends.
constexpr int kEndsAtOnce = 4;
constexpr std::chrono::milliseconds kTick{1'000};
constexpr std::chrono::hours kPruneEvents{1};
constexpr std::chrono::milliseconds kKeepEvents = std::chrono::hours(24 * 30);
constexpr int64_t kMaxEvents = 1'000'000;

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

Error Late(Error error) {
  if (error.code != Code::kTimeout) return error;
  error.code = Code::kUnavailable;
  if (error.reason.empty()) error.reason = "CONTAINER_UNAVAILABLE";
  return error;
}

async::Task<> Registry::RunAgain() {
  auto prune_at = steady_clock::now() + kTick;
  while (!impl_->automatic_stops.is_set()) {
    co_await async::WithTimeout(kTick, WaitFor(impl_->automatic_stops));
    if (impl_->automatic_stops.is_set()) break;
    impl_->DeadRound();
    impl_->EndAgainRound();
    impl_->WriteAgainRound();
    if (steady_clock::now() < prune_at) continue;
    prune_at = steady_clock::now() + kPruneEvents;
    auto prune = [this] {
      // While the clock is doubted only their number counts.
      ClockReading now = ReadClock();
      bool doubted = impl_->clock.WhyNotToRemove(now).has_value();
      return impl_->events.Prune(doubted ? 0 : now.wall_ms - kKeepEvents.count(), kMaxEvents);
    };
    Result<void> pruned = co_await impl_->runtime.blocking().Run(prune);
    if (!pruned) log::Warning("forget old events: {}", pruned.error().message);
  }
}

void Registry::Impl::EndAgainRound() {
  std::vector<EntryPtr> due;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) {
      if (ending_again >= kEndsAtOnce) break;
      State state = entry->row.state;
      bool deletes =
          state == State::kDeleting && entry->delete_again_at != steady_clock::time_point();
      if (!entry->exists || (!deletes && state != State::kFailed)) continue;
      auto& again_at = deletes ? entry->delete_again_at : entry->stop_again_at;
      if (steady_clock::now() < again_at) continue;
      ++ending_again;
      // Not again before this try has ended.
      again_at = steady_clock::time_point::max();
      due.push_back(entry);
    }
  }
  // Side by side: what cannot be ended keeps nobody else waiting.
  for (EntryPtr& entry : due) {
    ++resting;
    async::Spawn(runtime.NextShard(), EndAgain(std::move(entry)), "end again");
  }
}

async::Task<> Registry::Impl::EndAgain(EntryPtr entry) {
  co_await async::DisableCancellation();
  async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
  if (!retired && !entry->removed) {
    if (entry->row.state == State::kDeleting) {
      co_await DeleteAgain(entry);
    } else if (IsFailed(entry)) {
      co_await StopAgain(entry);
    }
  }
  lock.Unlock();
  --ending_again;
  --resting;
}

async::Task<> Registry::Impl::DeleteAgain(EntryPtr entry) {
  std::string id = entry->row.id;
  Result<void> deleted = co_await DestroyAll(entry);
  if (deleted) log::Info("sandbox {} is deleted now", id);
  if (!deleted) log::Warning("sandbox {}: {}", id, deleted.error().message);
}

async::Task<> Registry::Impl::StopAgain(EntryPtr entry) {
  Result<void> ended = co_await ClearDead(entry, "its stop, which had failed, is finished");
  if (ended) {
    log::Info("sandbox {} is stopped now", entry->row.id);
    std::lock_guard guard(mutex);
    entry->stop_again_pause = {};
    co_return;
  }
  log::Warning("sandbox {} still cannot be stopped: {}", entry->row.id, ended.error().message);
  co_await NoteFailed(entry, ended.error().message);
}

void Registry::Impl::DeadRound() {
  std::vector<EntryPtr> dead;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) {
      State state = entry->row.state;
      bool lives = entry->exists && (state == State::kRunning || state == State::kPaused);
      bool somebodys = entry->row.pool_key.empty() && !entry->reserved && !entry->clearing;
      if (!lives || !somebodys || !entry->sandbox) continue;
      if (!HasEnded(entry->sandbox->pidfd_.get())) continue;
      entry->clearing = true;
      dead.push_back(entry);
    }
  }
  for (EntryPtr& entry : dead) {
    ++resting;
    async::Spawn(runtime.NextShard(), ClearOne(std::move(entry)), "clear a dead sandbox");
  }
}

async::Task<> Registry::Impl::ClearOne(EntryPtr entry) {
  co_await async::DisableCancellation();
  async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
  // Somebody who wants it may have started it meanwhile.
  bool dead = !retired && !entry->removed && IsUp(entry) && !Living(entry);
  if (dead) {
    log::Warning("sandbox {} has ended by itself", entry->row.id);
    Result<void> ended = co_await ClearDead(entry, "its first process has ended");
    if (!ended) {
      log::Error("sandbox {}: {}", entry->row.id, ended.error().message);
      co_await NoteFailed(entry, ended.error().message);
    }
  }
  {
    std::lock_guard guard(mutex);
    entry->clearing = false;
  }
  lock.Unlock();
  --resting;
}

async::Task<> Registry::Impl::NoteFailed(EntryPtr entry, std::string why) {
  bool known = false;
  {
    std::lock_guard guard(mutex);
    known = entry->row.state == State::kFailed && entry->row.failure == why;
  }
  auto write = [this, &entry, &why] { return rows.SetState(entry->row.iid, State::kFailed, why); };
  if (!known) {
    Result<void> written = co_await runtime.blocking().Run(write);
    if (!written) log::Error("sandbox {}: {}", entry->row.id, written.error().message);
  }
  std::lock_guard guard(mutex);
  entry->row.state = State::kFailed;
  entry->row.failure = why;
  entry->stop_again_pause =
      std::clamp(2 * entry->stop_again_pause, kStopAgainPause, kLongestStopAgainPause);
  entry->stop_again_at = steady_clock::now() + entry->stop_again_pause;
}

void Registry::Impl::WriteAgainRound() {
  std::vector<EntryPtr> due;
  {
    std::lock_guard guard(mutex);
    // One round at a time: whoever holds one of the locks may do so for long.
    if (writing_again) return;
    for (const auto& [id, entry] : entries) {
      if (entry->exists && entry->wake_unwritten) due.push_back(entry);
    }
    if (due.empty()) return;
    writing_again = true;
  }
  ++resting;
  async::Spawn(runtime.NextShard(), WriteAgain(std::move(due)), "write again");
}

async::Task<> Registry::Impl::WriteAgain(std::vector<EntryPtr> due) {
  co_await async::DisableCancellation();
  co_await WriteAgainEach(std::move(due));
  {
    std::lock_guard guard(mutex);
    writing_again = false;
  }
  --resting;
}

async::Task<> Registry::Impl::WriteAgainEach(std::vector<EntryPtr> due) {
  for (const EntryPtr& entry : due) {
    async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
    if (retired) co_return;
    {
      std::lock_guard guard(mutex);
      // Another state has been written since.
      bool still = !entry->removed && entry->row.state == State::kRunning;
      if (!still) entry->wake_unwritten = false;
      if (!entry->wake_unwritten) continue;
    }
    auto write = [this, &entry] {
      return rows.SetState(entry->row.iid, State::kRunning, {}, "somebody wants it");
    };
    Result<void> written = co_await runtime.blocking().Run(write);
    if (!written) co_return;  // nor would others be
    std::lock_guard guard(mutex);
    entry->wake_unwritten = false;
  }
}

async::Task<> Registry::Impl::SaveAgainRound() {
  std::vector<std::string> due;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) {
      State state = entry->row.state;
      bool rests = entry->exists && (state == State::kStopped || state == State::kFailed);
      bool now = steady_clock::now() >= entry->save_again_at;
      if (rests && entry->row.unsaved && now) due.push_back(id);
    }
  }
  if (due.empty()) co_return;
  // Ask the store first: a sandbox is not started for nothing.
  auto look = [this] { return vault.GetFresh(std::chrono::milliseconds(0)); };
  Result<snapshot::Vault::Repo> store = co_await transfers.Run(look);
  if (!store) co_return;
  co_await SaveAgainSome(due, 0, std::min(kSavesAtOnce, due.size()));
}

// Every `step`-th, beginning with `begin`, one after the other; the rest beside it.
async::Task<> Registry::Impl::SaveAgainSome(const std::vector<std::string>& ids, size_t begin,
                                            size_t step) {
  if (begin >= step) co_return;
  co_await async::Both(SaveAgainEach(ids, begin, step), SaveAgainSome(ids, begin + 1, step));
}

async::Task<> Registry::Impl::SaveAgainEach(const std::vector<std::string>& ids, size_t begin,
                                            size_t step) {
  for (size_t i = begin; i < ids.size(); i += step) {
    EntryPtr entry = Lookup(ids[i]);
    if (!entry) continue;
    Result<void> saved = co_await SaveAgainOne(ids[i], entry);
    std::lock_guard guard(mutex);
    if (saved) {
      entry->save_again_pause = {};
      continue;
    }
    log::Warning("sandbox {} is still not saved: {}", ids[i], saved.error().message);
    entry->save_again_pause =
        std::clamp(2 * entry->save_again_pause, kSaveAgainPause, kLongestSaveAgainPause);
    entry->save_again_at = steady_clock::now() + entry->save_again_pause;
  }
}

async::Task<Result<void>> Registry::Impl::SaveAgainOne(std::string id, EntryPtr entry) {
  const AskedFor nothing;
  // What nobody waits for takes no room that somebody may want.
  CO_ASSIGN(Admission::Ticket ticket,
            co_await Admit(id, nothing, std::chrono::milliseconds(0), false));
  async::Mutex::Lock transfer = co_await entry->transfer.Acquire();
  CO_ASSIGN(Held held, co_await Hold(id, false));
  State state = entry->row.state;
  bool rests = state == State::kStopped || state == State::kFailed;
  if (held.entry != entry || !rests || !entry->row.unsaved) co_return Result<void>();
  std::stop_token wanted = AwaitWish(entry);
  Phases phases;
  bool keep_memory = launcher.HasMemory(entry->row.iid);
  // Nobody has asked for its services: it is started to be read.
  Result<void> started = co_await StartAgain(entry, phases, nullptr, false);
  if (!started) {
    EndWish(entry);
    co_return started;
  }
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    // Somebody uses it already: it goes on running, and is saved when it next stops.
    if (entry->activity->uses() > 0) {
      entry->wanted.reset();
      co_return Result<void>();
    }
    // Whoever wants it now waits for the lock and starts it again.
    entry->reserved = true;
    sandbox = entry->sandbox;
  }
  GivenUp given_up{.work = wanted, .opening = wanted};
  auto saved = co_await Save(sandbox, entry, repository::Trigger::kStop, given_up);
  if (EndWish(entry)) {
    co_await StartServices(services, sandbox);
    Reserve(entry, false);
    co_return Result<void>();
  }
  if (saved) log::Info("sandbox {} is saved now", id);
  if (keep_memory) {
    Result<void> kept = co_await KeepMemory(entry, sandbox);
    if (!kept) {
      log::Warning("sandbox {} stops without its memory: {}", id, kept.error().message);
      co_await Tell(entry, "memory", "what runs in it is not kept: " + kept.error().message);
    }
  }
  sandbox.reset();
  Result<void> stopped = co_await StopContainer(entry);
  Reserve(entry, false);
  if (!stopped) {
    co_await NoteFailed(entry, stopped.error().message);
    co_return Unexpected(std::move(stopped).error());
  }
  if (!saved) co_return Unexpected(std::move(saved).error());
  co_return Result<void>();
}

}  // namespace atl::sandbox
