// SPDX-License-Identifier: Apache-2.0
// What a new daemon does with what an earlier one left.
#include <fmt/format.h>

#include "base/log.h"
#include "oci/leaks.h"
#include "sandbox/registry_impl.h"
#include "sys/namespace.h"

namespace atl::sandbox {

async::Task<> Registry::Impl::LoadInto(Result<void>& result) {
  co_await async::DisableCancellation();
  sweeps = true;
  auto read = [this]() -> Result<std::vector<Row>> {
    TRY(services.Load());
    return rows.All();
  };
  Result<std::vector<Row>> all = co_await runtime.blocking().Run(read);
  if (!all) {
    result = Unexpected(std::move(all).error());
    co_return;
  }
  for (Row& row : *all) {
    EntryPtr entry = Obtain(row.id);
    async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
    std::lock_guard guard(mutex);
    entry->row = std::move(row);
    entry->exists = true;
    entry->reserved = !entry->row.pool_key.empty();
    loaded.push_back({.entry = std::move(entry), .lock = std::move(lock)});
  }
  result = Result<void>();
}

// Nobody makes or starts a sandbox meanwhile, for that would look as if it belonged to nothing.
async::Task<> Registry::Impl::Sweep() {
  auto end_calls = [this] { return oci::EndRuntimeCalls(LauncherConfigOf(options)); };
  Result<void> calls_ended = co_await runtime.blocking().Run(end_calls);
  if (!calls_ended) log::Warning("{}", calls_ended.error().message);
  auto remove = [this]() -> Result<void> {
    ASSIGN(KnownIids known, rows.Known());
    return oci::RemoveLeaks(launcher, LauncherConfigOf(options), known.live, known.running);
  };
  Result<void> removed = co_await runtime.blocking().Run(remove);
  // What could not be removed is a matter for `doctor --leaks`; sandboxes can be used meanwhile.
  if (!removed) log::Warning("remove what belongs to no sandbox: {}", removed.error().message);
  sweeps = false;
  swept.Set();
}

async::Task<> Registry::Impl::ReconcileInto(Result<void>& result) {
  co_await async::DisableCancellation();
  Stopwatch watch;
  co_await Sweep();
  size_t count = loaded.size();
  if (count > 0) co_await ReconcileAll(0, count);
  loaded.clear();
  reconciled = true;
  log::Info("{} sandboxes were looked at in {:.0f} ms", count, watch.Lap());
  std::vector<Event> untold;
  {
    std::lock_guard guard(mutex);
    untold.swap(taken_over);
  }
  auto tell = [this, &untold] { return events.Append(untold); };
  if (!untold.empty()) {
    Result<void> told = co_await runtime.blocking().Run(tell);
    if (!told) log::Warning("{}", told.error().message);
  }
  result = Result<void>();
}

// Side by side: each may wait for crun and for its agent.
async::Task<> Registry::Impl::ReconcileAll(size_t begin, size_t end) {
  if (end - begin == 1) {
    co_await ReconcileOne(loaded[begin].entry);
    loaded[begin].lock.Unlock();
    co_return;
  }
  size_t middle = begin + (end - begin) / 2;
  co_await async::Both(ReconcileAll(begin, middle), ReconcileAll(middle, end));
}

namespace {

// A stop that an earlier daemon began.
template <class Impl>
async::Task<> FinishStop(Impl& impl, std::string id) {
  Result<Registry::Stopped> stopped;
  typename Impl::StopHow how{.why = "a stop that was cut short is finished"};
  co_await impl.StopInto(id, std::move(how), stopped);
  if (!stopped) log::Warning("sandbox {}: {}", id, stopped.error().message);
}

}  // namespace

namespace {

constexpr int kAdoptionTries = 3;
constexpr std::chrono::milliseconds kAdoptionPause{1'000};

// A container that has ended is not found.
bool IsWorthAnotherTry(const Error& error, int tries) {
  return tries < kAdoptionTries && error.code != Code::kNotFound;
}

}  // namespace

// Whether somebody counts on its programs without asking for them.
bool Registry::Impl::RunsUnasked(const EntryPtr& entry) {
  std::lock_guard guard(mutex);
  if (!entry->row.pool_key.empty()) return false;
  return SleepOf(entry->row).keep_alive || !services.Of(entry->row.iid).empty();
}

// The host went down with them. One after the other, behind whoever asks for one.
async::Task<> Registry::StartUnasked(std::vector<std::string> ids) {
  for (const std::string& id : ids) {
    if (impl_->retired) co_return;
    Result<void> awake = co_await Wake(id);
    if (awake) {
      log::Info("sandbox {} runs again: it is kept alive, or has services", id);
    } else {
      log::Warning("sandbox {} is not started again: {}", id, awake.error().message);
    }
  }
}

async::Task<> Registry::Impl::ReconcileOne(EntryPtr entry) {
  std::string id = entry->row.id;
  State state = entry->row.state;
  bool lives = state == State::kRunning || state == State::kPaused || state == State::kStopping ||
               state == State::kRestoring;
  // A daemon died while it filled an empty layer: what is there is no more than a part.
  if (entry->row.recover && (state == State::kStopped || lives)) {
    Result<void> emptied = co_await StopContainer(entry, "its restore was cut short");
    if (emptied) {
      co_await DropLayer(entry);
      log::Info("sandbox {} was not yet restored: it is at its next start", id);
    } else {
      log::Error("sandbox {}: {}", id, emptied.error().message);
      co_await NoteFailed(entry, emptied.error().message);
    }
    co_return;
  }
  // The next use of one that failed tries to start it.
  if (state == State::kStopped || state == State::kFailed) {
    if (state == State::kFailed) co_await NoteFailed(entry, entry->row.failure);
    co_return;
  }
  if (lives) {
    Result<void> adopted = co_await Adopt(entry, state == State::kPaused);
    // What runs is ended only when there is nothing else to be done: a busy host is slow to answer.
    for (int tries = 1; !adopted && IsWorthAnotherTry(adopted.error(), tries); ++tries) {
      if (IsBeingDeleted(entry)) break;
      log::Warning("sandbox {}: {}; trying again", id, adopted.error().message);
      co_await async::Sleep(kAdoptionPause);
      adopted = co_await Adopt(entry, state == State::kPaused);
    }
    if (adopted) {
      log::Info("sandbox {} is {}: adopted", id, StateName(state));
      if (entry->row.pool_key.empty()) {
        std::lock_guard guard(mutex);
        taken_over.push_back({.iid = entry->row.iid,
                              .id = id,
                              .kind = "daemon",
                              .state = {},
                              .detail = "a new daemon has taken it over as it was"});
      }
      if (state == State::kStopping) {
        async::Spawn(runtime.NextShard(), FinishStop(*this, id), "finish a stop");
      }
      co_return;
    }
    log::Warning("sandbox {} is stopped: {}", id, adopted.error().message);
    Result<void> stopped = co_await ClearDead(entry, adopted.error().message);
    if (!stopped) {
      log::Error("sandbox {}: {}", id, stopped.error().message);
      co_await NoteFailed(entry, stopped.error().message);
      co_return;
    }
    bool ran = state == State::kRunning || state == State::kPaused;
    if (ran && RunsUnasked(entry)) {
      std::lock_guard guard(mutex);
      to_start.push_back(id);
    }
    co_return;
  }
  Result<void> destroyed = co_await DestroyAll(entry);
  if (destroyed) {
    log::Info("sandbox {} was {}: removed", id, StateName(state));
  } else {
    log::Error("sandbox {} was {} and cannot be removed: {}", id, StateName(state),
               destroyed.error().message);
  }
}

async::Task<Result<void>> Registry::Impl::Adopt(EntryPtr entry, bool asleep) {
  std::string iid = entry->row.iid;
  auto adopt = [this, &iid] { return launcher.Adopt(iid); };
  CO_ASSIGN(oci::Launched launched, co_await runtime.blocking().Run(adopt));
  // A daemon may have died while the sandbox stood still for a snapshot, or before it slept.
  // Or while it was copied with what runs, or had just started from what ran in it.
  auto settle = [this, &iid, pid = launched.pid, asleep]() -> Result<void> {
    TRY(launcher.DropMemory(iid));
    TRY(launcher.SettleAgent(iid, pid));
    TRY(launcher.CgroupOf(iid).EndReclaim());
    TRY(launcher.CgroupOf(iid).Freeze(asleep));
    if (asleep) return {};
    return rows.EndRestoring(iid);
  };
  CO_TRY(co_await runtime.blocking().Run(settle));
  Phases phases;
  // Not for use before it is known to sleep.
  if (asleep) Reserve(entry, true);
  Result<void> connected = co_await Connect(entry, std::move(launched), false, phases);
  if (asleep) {
    if (connected) SetState(entry, State::kPaused);
    if (connected && entry->row.pool_key.empty()) ReclaimLater(entry);
    Reserve(entry, false);
  }
  if (!connected || asleep || !entry->row.pool_key.empty()) co_return connected;
  // A daemon may have died right after it gave the sandbox to its owner, or made it as a copy.
  auto name = [&entry] { return sys::HostnameOf(entry->sandbox->pidfd_.get()); };
  CO_ASSIGN(std::string hostname, co_await runtime.blocking().Run(name));
  if (hostname == entry->row.id) co_return Result<void>();
  if (hostname == kMemberHostname) {
    CO_TRY(co_await BecomeSomebodys(entry->sandbox, entry->row));
  } else {
    CO_TRY(co_await BecomeCopy(entry->sandbox, entry->row, std::move(hostname), false));
  }
  co_return Result<void>();
}

}  // namespace atl::sandbox
