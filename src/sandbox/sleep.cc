// SPDX-License-Identifier: Apache-2.0
// Sleep and wake, and what becomes of a sandbox that nobody uses: first its programs stand still,
// later it is saved and stopped. Neither loses anything, and the next request undoes both.
#include <fmt/format.h>

#include <chrono>

#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/freezer.h"
#include "sandbox/id.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{1'000};
constexpr std::chrono::milliseconds kRestingPause{20};
constexpr std::chrono::minutes kQuiet{1};
constexpr const char* kWanted = "somebody wants it";

Unexpected InUse(const std::string& id, int uses) {
  return Fail(Code::kFailedPrecondition,
              fmt::format("sandbox {} is in use by {} requests or programs", id, uses),
              "SANDBOX_IN_USE");
}

}  // namespace

async::Task<Result<void>> Registry::Impl::Pause(EntryPtr entry, bool idle_only, std::string why) {
  Row row;
  {
    std::lock_guard guard(mutex);
    int uses = entry->activity->uses();
    if (idle_only && uses > 0) co_return InUse(entry->row.id, uses);
    // From here on whoever wants it waits for the lifecycle lock and wakes it.
    entry->row.state = State::kPaused;
    row = entry->row;
  }
  auto pause = [this, &row, &why]() -> Result<void> {
    TRY(rows.SetState(row.iid, State::kPaused, {}, why));
    sys::Cgroup cgroup = launcher.CgroupOf(row.iid);
    Result<void> frozen = FreezePrograms(cgroup);
    if (!frozen) {
      (void)rows.SetState(row.iid, State::kRunning, {}, frozen.error().message);
      return frozen;
    }
    NoteAsleep(row.iid);
    return {};
  };
  Result<void> paused = co_await runtime.blocking().Run(pause);
  if (!paused) {
    SetState(entry, State::kRunning);
    co_return Unexpected(
        Late(std::move(paused).error()).Wrap("put sandbox " + row.id + " to sleep"));
  }
  log::Info("sandbox {} sleeps: {}", row.id, why);
  ReclaimLater(entry);
  co_return Result<void>();
}

// Memory that has been moved to swap makes waking slow: who comes back soon is not to wait for it.
void Registry::Impl::ReclaimLater(const EntryPtr& entry) {
  if (options.reclaim_after.count() == 0) return;
  std::lock_guard guard(mutex);
  entry->reclaim_at = steady_clock::now() + options.reclaim_after;
}

async::Task<> Registry::Impl::ReclaimInTurn(EntryPtr entry) {
  // One after the other: hundreds may be due at once, and others want the same threads.
  async::Mutex::Lock turn = co_await reclaim_turn.Acquire();
  if (!automatic_stops.is_set()) co_await ReclaimNow(std::move(entry));
  --resting;
}

// It may be woken meanwhile, and does not wait.
async::Task<> Registry::Impl::ReclaimNow(EntryPtr entry) {
  Row row;
  {
    std::lock_guard guard(mutex);
    auto at = std::exchange(entry->reclaim_at, {});
    if (at == steady_clock::time_point() || entry->row.state != State::kPaused) co_return;
    row = entry->row;
  }
  auto reclaim = [this, &row]() -> Result<void> {
    // Another daemon has taken it over, or somebody has woken it while this one waited its turn.
    sys::Cgroup cgroup = launcher.CgroupOf(row.iid);
    if (retired || !cgroup.IsFrozen()) return {};
    TRY(cgroup.Reclaim());
    NoteAsleep(row.iid);
    return {};
  };
  Result<void> reclaimed = co_await runtime.blocking().Run(reclaim);
  if (!reclaimed) log::Info("sandbox {}: {}", row.id, reclaimed.error().message);
}

async::Task<Result<void>> Registry::Impl::Thaw(EntryPtr entry) {
  metrics::Measure measure(metrics::Get().wake_seconds);
  const std::string& iid = entry->row.iid;
  bool unwritten = false;
  auto thaw = [this, &iid, &unwritten]() -> Result<void> {
    TRY(launcher.CgroupOf(iid).Freeze(false));
    // A full disk is no reason to end its programs. Until the row is written (WriteAgainRound), a
    // new daemon takes it for asleep, and its next use wakes it.
    Result<void> noted = rows.SetState(iid, State::kRunning, {}, kWanted);
    unwritten = !noted;
    if (!noted) log::Error("sandbox {}: {}", iid, noted.error().message);
    return {};
  };
  CO_TRY(co_await runtime.blocking().Run(thaw));
  measure.Succeeded(true);
  entry->activity->Touch();
  std::lock_guard guard(mutex);
  entry->row.state = State::kRunning;
  entry->reclaim_at = {};
  entry->row.failure.clear();
  entry->wake_unwritten = unwritten;
  co_return Result<void>();
}

async::Task<> Registry::Impl::SleepInto(std::string id, bool force, Result<void>& result) {
  co_await async::DisableCancellation();
  EntryPtr entry = Lookup(id);
  if (!entry) {
    result = Unexpected(NoSuchSandbox(id));
    co_return;
  }
  // A snapshot or a restore would thaw it when it ends.
  Result<async::Mutex::Lock> transfer = co_await AwaitTurn(entry->transfer);
  if (!transfer) {
    result = Unexpected(std::move(transfer).error());
    co_return;
  }
  Result<Held> held = co_await Hold(id, false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  if (held->entry != entry || !Alive(entry)) co_return;
  result = co_await Pause(entry, !force, "its owner wants it to");
  if (result) co_await ReclaimNow(entry);
}

async::Task<> Registry::Impl::ChangeInto(std::string id, Changes changes, Result<Info>& result) {
  co_await async::DisableCancellation();
  Result<Held> held = co_await Hold(id, false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  Row row;
  {
    std::lock_guard guard(mutex);
    row = held->entry->row;
  }
  auto change = [this, &row, &changes]() -> Result<void> {
    if (changes.snapshots) {
      ASSIGN(snapshot::AutoPolicy policy, changes.snapshots(PolicyOf(row)));
      row.snapshot_policy = snapshot::EncodeAutoPolicy(policy);
    }
    if (changes.sleep) {
      ASSIGN(SleepPolicy policy, changes.sleep(SleepOf(row)));
      row.sleep_policy = EncodeSleepPolicy(policy);
    }
    return rows.SetPolicies(row.iid, row.snapshot_policy, row.sleep_policy);
  };
  Result<void> changed = co_await runtime.blocking().Run(change);
  if (!changed) {
    result = Unexpected(std::move(changed).error());
    co_return;
  }
  held->entry->activity->Touch();
  std::lock_guard guard(mutex);
  held->entry->row.snapshot_policy = row.snapshot_policy;
  held->entry->row.sleep_policy = row.sleep_policy;
  result = InfoOf(*held->entry);
}

async::Task<> Registry::Impl::LockedInto(std::string id, LockedWork work, Result<void>& result) {
  co_await async::DisableCancellation();
  Result<Held> held = co_await Hold(id, false);
  if (!held) {
    result = Unexpected(std::move(held).error());
    co_return;
  }
  Info info;
  {
    std::lock_guard guard(mutex);
    info = InfoOf(*held->entry);
  }
  auto locked = [&work, &info] { return work(info); };
  result = co_await runtime.blocking().Run(locked);
}

// Programs may work without anybody listening: an agent that was given a task, a build. What they
// use of the CPU between two looks tells. Blocks.
bool Registry::Impl::IsBusy(const EntryPtr& entry, std::chrono::seconds after) {
  if (options.busy_cpus <= 0) return false;
  auto usage = launcher.CgroupOf(entry->row.iid).Usage();
  if (!usage || usage->cpu_usec == 0) return false;
  auto now = steady_clock::now();
  uint64_t before = std::exchange(entry->cpu_usec, usage->cpu_usec);
  auto since = std::exchange(entry->cpu_at, now);
  auto passed = std::chrono::duration_cast<std::chrono::microseconds>(now - since).count();
  // The first look, or one too long ago: the next one tells.
  if (before == 0 || now - since > 5 * kTick) {
    entry->quiet_since = {};
    return true;
  }
  // Less than before: one that had used much has just ended.
  auto used = usage->cpu_usec < before ? static_cast<double>(passed)
                                       : static_cast<double>(usage->cpu_usec - before);
  if (used <= options.busy_cpus * static_cast<double>(passed)) {
    // An agent that waits for its model does nothing for a while, too.
    if (entry->quiet_since == steady_clock::time_point()) entry->quiet_since = now;
    return now - entry->quiet_since < std::min<steady_clock::duration>(kQuiet, after);
  }
  entry->quiet_since = {};
  entry->activity->Touch();
  return true;
}

async::Task<> Registry::Impl::IdleRound() {
  auto now = steady_clock::now();
  std::vector<std::pair<EntryPtr, bool>> idle_ones;  // true: to be stopped
  std::vector<EntryPtr> sleepers;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) {
      State state = entry->row.state;
      bool lives = state == State::kRunning || state == State::kPaused;
      bool somebodys = entry->row.pool_key.empty() && !entry->reserved;
      if (!entry->exists || !lives || !somebodys || entry->idles) continue;
      bool due = entry->reclaim_at != steady_clock::time_point() && entry->reclaim_at <= now;
      if (due && state == State::kPaused) sleepers.push_back(entry);
      if (entry->activity->uses() > 0) continue;
      SleepPolicy policy = SleepOf(entry->row);
      auto idle = now - entry->activity->idle_since();
      auto stops_after = policy.StopsAfter();
      bool sleeps = !policy.keep_alive && policy.after.count() > 0 && idle >= policy.after;
      bool stop = stops_after && idle >= *stops_after;
      if (!stop && !(state == State::kRunning && sleeps)) continue;
      entry->idles = true;
      idle_ones.emplace_back(entry, stop);
    }
  }
  for (EntryPtr& entry : sleepers) {
    ++resting;
    async::Spawn(runtime.NextShard(), ReclaimInTurn(std::move(entry)), "give up memory");
  }
  // Side by side: one that is large, or whose store does not answer, keeps nobody else awake.
  for (auto& [entry, stop] : idle_ones) {
    ++resting;
    async::Spawn(runtime.NextShard(), PutToRest(std::move(entry), stop), "put to rest");
  }
  co_return;
}

async::Task<> Registry::Impl::PutToRest(EntryPtr entry, bool stop) {
  co_await async::DisableCancellation();
  if (stop) {
    co_await StopByItself(entry);
  } else {
    co_await SleepByItself(entry);
  }
  {
    std::lock_guard guard(mutex);
    entry->idles = false;
  }
  --resting;
}

async::Task<bool> Registry::Impl::StaysAwake(EntryPtr entry) {
  std::shared_ptr<Sandbox> sandbox = Alive(entry);
  if (!sandbox) co_return false;
  bool awake = co_await IsKeptAwake(services, std::move(sandbox));
  if (awake) entry->activity->Touch();
  co_return awake;
}

async::Task<> Registry::Impl::SleepByItself(EntryPtr entry) {
  SleepPolicy policy;
  {
    std::lock_guard guard(mutex);
    policy = SleepOf(entry->row);
  }
  auto look = [this, &entry, &policy] { return IsBusy(entry, policy.after); };
  bool busy = co_await runtime.blocking().Run(look);
  if (busy) co_return;
  bool awake = co_await StaysAwake(entry);
  if (awake) co_return;
  async::Mutex::Lock transfer = co_await entry->transfer.Acquire();
  async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
  auto idle = steady_clock::now() - entry->activity->idle_since();
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(idle);
  if (entry->removed || !Alive(entry) || idle < policy.after) co_return;
  Result<void> paused =
      co_await Pause(entry, true, fmt::format("nobody has used it for {} s", seconds.count()));
  if (paused || ReasonOf(paused.error()) == "SANDBOX_IN_USE") co_return;
  // Where nothing can be frozen, they are stopped when that is due.
  if (ReasonOf(paused.error()) == "FREEZE_UNSUPPORTED") co_return;
  log::Warning("{}", paused.error().message);
  entry->activity->Touch();  // not again at once
}

async::Task<> Registry::Impl::StopByItself(EntryPtr entry) {
  SleepPolicy policy;
  std::string id;
  bool runs = false;
  {
    std::lock_guard guard(mutex);
    policy = SleepOf(entry->row);
    id = entry->row.id;
    runs = entry->row.state == State::kRunning;
  }
  if (runs) {
    auto look = [this, &entry, &policy] { return IsBusy(entry, policy.stop_after); };
    bool busy = co_await runtime.blocking().Run(look);
    if (busy) co_return;
    bool awake = co_await StaysAwake(entry);
    if (awake) co_return;
  }
  Result<Stopped> stopped;
  StopHow how{
      .idle_only = true, .keep_memory = options.keep_memory, .why = "nobody has used it for long"};
  co_await StopInto(id, std::move(how), stopped);
  if (stopped) log::Info("sandbox {} is stopped: nobody has used it for long", id);
  if (stopped || ReasonOf(stopped.error()) == "SANDBOX_IN_USE") co_return;
  log::Warning("{}", stopped.error().message);
}

namespace {

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

async::Task<> Registry::RunIdle() {
  while (!impl_->automatic_stops.is_set()) {
    co_await async::WithTimeout(kTick, WaitFor(impl_->automatic_stops));
    if (impl_->automatic_stops.is_set()) break;
    co_await impl_->IdleRound();
  }
  while (impl_->resting > 0) co_await async::Sleep(kRestingPause);
}

}  // namespace atl::sandbox
