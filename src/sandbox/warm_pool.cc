// SPDX-License-Identifier: Apache-2.0
#include "sandbox/warm_pool.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/id.h"
#include "sandbox/pid_one.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

// After a sandbox was made: whoever made it wants the CPUs now.
constexpr milliseconds kQuiet{500};
constexpr milliseconds kSoon{250};
constexpr milliseconds kAgain{1'000};
constexpr milliseconds kFirstPause{2'000};
constexpr milliseconds kLongestPause{300'000};
// Beside sandboxes that are somebody's.
constexpr uint64_t kLowWeight = 10;
constexpr milliseconds kAgentLimit{2'000};

async::Task<> WaitFor(std::shared_ptr<async::Event> event) { co_await event->Wait(); }

// Nobody works in it: it stands still, and takes no more than the memory that it has.
Result<void> LayToRest(const sys::Cgroup& cgroup, uint64_t weight, bool reclaim) {
  TRY(cgroup.SetLimits({.weight = weight}));
  TRY(cgroup.AwaitAgent(kAgentLimit));
  Result<void> frozen = cgroup.Freeze(true);
  // It waits just as well where the host cannot freeze.
  if (!frozen && ReasonOf(frozen.error()) == "FREEZE_UNSUPPORTED") return {};
  if (frozen && reclaim) TRY(cgroup.Reclaim());
  return frozen;
}

}  // namespace

void Registry::WarmPool::Wake() {
  std::lock_guard guard(mutex);
  wake->Set();
  wake = std::make_shared<async::Event>();
}

bool Registry::WarmPool::Serves(const Row& wanted) const {
  return options.warm_target > 0 && HasImage(wanted.image) &&
         CanBecome(impl.options.limits, wanted.limits, options.opencode) &&
         (!hooks.suits || hooks.suits(wanted.env));
}

bool Registry::WarmPool::IsReadyFor(const Row& wanted) const {
  if (!Serves(wanted)) return false;
  std::lock_guard guard(mutex);
  return std::ranges::any_of(
      waiting, [&](const EntryPtr& member) { return member->row.image == wanted.image; });
}

Result<std::string> Registry::WarmPool::KeyOf(const std::string& image) const {
  PoolIdentity identity{.image = image,
                        .images_dir = impl.options.images_dir,
                        .binaries = {impl.options.agent_binary},
                        .limits = impl.options.limits,
                        .env = impl.options.env,
                        .hooks = hooks.identity};
  const std::string& opencode = impl.options.opencode_binary;
  if (!opencode.empty()) identity.binaries.push_back(opencode);
  return PoolKey(identity);
}

void Registry::WarmPool::Waits(EntryPtr member) {
  std::lock_guard guard(mutex);
  waiting.push_back(std::move(member));
  Report();
}

void Registry::WarmPool::Report() const {
  metrics::Get().pool_sandboxes.With({"warm"}).Set(static_cast<double>(waiting.size()));
  metrics::Get().pool_sandboxes.With({"starting"}).Set(static_cast<double>(starting));
}

Registry::WarmPool::EntryPtr Registry::WarmPool::Take(const Row& wanted) {
  auto key = KeyOf(wanted.image);
  std::lock_guard guard(mutex);
  demand[wanted.image].Note();
  // The oldest: it has stood still for longest and is as good as any.
  auto found = std::ranges::find_if(waiting, [&](const EntryPtr& member) {
    return key && member->row.pool_key == *key && !HasEnded(member->sandbox->pidfd_.get());
  });
  metrics::Get().pool_claims.With({found == waiting.end() ? "miss" : "hit"}).Add();
  if (found == waiting.end()) {
    ++misses;
    return nullptr;
  }
  EntryPtr member = *found;
  waiting.erase(found);
  Report();
  ++hits;
  return member;
}

bool Registry::WarmPool::IsQuiet() {
  if (creating > 0) return false;
  std::lock_guard guard(mutex);
  return Clock::now() - created_at >= kQuiet;
}

async::Task<> Registry::WarmPool::Retire(EntryPtr member, std::string why) {
  async::Mutex::Lock lock = co_await member->lifecycle.Acquire();
  std::string iid = member->row.iid;
  Result<void> gone = co_await impl.DestroyAll(member);
  if (gone) {
    log::Info("pool: member {} is removed: {}", iid, why);
  } else {
    log::Error("pool: member {} cannot be removed: {}", iid, gone.error().message);
  }
}

async::Task<> Registry::WarmPool::RetireAll(std::vector<EntryPtr> members, std::string why) {
  for (EntryPtr& member : members) co_await Retire(member, why);
}

async::Task<bool> Registry::WarmPool::MakeRoom(uint64_t missing) {
  std::vector<EntryPtr> members;
  {
    std::lock_guard guard(mutex);
    members = waiting;
  }
  auto held = [this, &members]() -> Result<uint64_t> {
    uint64_t sum = 0;
    for (const EntryPtr& member : members) {
      auto usage = impl.launcher.CgroupOf(member->row.iid).Usage();
      if (usage) sum += usage->memory_bytes;
    }
    return sum;
  };
  Result<uint64_t> bytes = co_await impl.runtime.blocking().Run(held);
  if (missing == 0 || !bytes || *bytes < missing) co_return false;
  EntryPtr oldest;
  {
    std::lock_guard guard(mutex);
    if (waiting.empty()) co_return false;
    oldest = waiting.front();
    waiting.erase(waiting.begin());
    Report();
  }
  co_await Retire(std::move(oldest), "somebody needs its memory");
  co_return true;
}

async::Task<> Registry::WarmPool::AdoptAll() {
  std::vector<EntryPtr> found;
  {
    std::lock_guard guard(impl.mutex);
    for (const auto& [id, entry] : impl.entries) {
      if (entry->exists && !entry->row.pool_key.empty()) found.push_back(entry);
    }
  }
  for (EntryPtr& member : found) {
    std::string image = member->row.image;
    auto look = [this, &image] { return KeyOf(image); };
    Result<std::string> key = co_await impl.runtime.blocking().Run(look);
    bool wanted = options.warm_target > 0 && HasImage(image);
    if (!wanted || !key || member->row.pool_key != *key) {
      co_await Retire(member, "it is not wanted any more");
      continue;
    }
    if (member->row.state != State::kRunning || !member->sandbox) {
      co_await Retire(member, "it has ended");
      continue;
    }
    Result<void> prepared = co_await Prepare(member);
    if (prepared) {
      log::Info("pool: member {} is adopted", member->row.iid);
      Waits(std::move(member));
    } else {
      co_await Retire(member, prepared.error().message);
    }
  }
}

// From a sandbox that runs to one that waits.
async::Task<Result<void>> Registry::WarmPool::Prepare(EntryPtr member) {
  sys::Cgroup cgroup = impl.launcher.CgroupOf(member->row.iid);
  if (options.opencode && hooks.warm) {
    auto lower = [&cgroup] { return cgroup.SetLimits({.weight = kLowWeight}); };
    CO_TRY(co_await impl.runtime.blocking().Run(lower));
    CO_TRY(co_await hooks.warm(member->sandbox));
  }
  CO_TRY(co_await Rest(member, cgroup, true));
  if (!options.opencode || !hooks.warm || !sys::HostHasSwap()) co_return Result<void>();
  // All of it is on swap now. What an answer needs comes back before somebody waits for it; the
  // rest, by far the most, stays there.
  auto thaw = [&cgroup] { return cgroup.Freeze(false); };
  CO_TRY(co_await impl.runtime.blocking().Run(thaw));
  CO_TRY(co_await hooks.warm(member->sandbox));
  CO_TRY(co_await Rest(member, cgroup, false));
  co_return Result<void>();
}

async::Task<Result<void>> Registry::WarmPool::Rest(EntryPtr member, sys::Cgroup cgroup,
                                                   bool reclaim) {
  // A daemon that took over meanwhile has it now, and may have given it away.
  async::Mutex::Lock lock = co_await member->lifecycle.Acquire();
  if (impl.retired) co_return Fail(Code::kCancelled, "a newer daemon has it");
  uint64_t weight = member->row.limits.weight;
  auto rest = [&cgroup, weight, reclaim] { return LayToRest(cgroup, weight, reclaim); };
  CO_TRY(co_await impl.runtime.blocking().Run(rest));
  co_return Result<void>();
}

async::Task<Result<void>> Registry::WarmPool::Launch(EntryPtr member, Row row,
                                                     std::string checkpoint) {
  auto insert = [this, &row] { return impl.rows.Insert(row); };
  CO_ASSIGN(row, co_await impl.runtime.blocking().Run(insert));
  {
    std::lock_guard guard(impl.mutex);
    member->row = row;
    member->exists = true;
    member->reserved = true;
  }
  Phases phases;
  CO_TRY(co_await impl.Launch(member, true, phases, std::move(checkpoint)));
  co_return Result<void>();
}

async::Task<> Registry::WarmPool::MakeOne(std::string image, std::string key) {
  Stopwatch watch;
  std::string iid = NewInternalId();
  Row row{.id = MemberId(iid),
          .iid = iid,
          .image = std::move(image),
          .limits = impl.options.limits,
          .created_at_ms = NowMs(),
          .pool_key = std::move(key)};
  uint64_t mine = 0;
  {
    std::lock_guard guard(mutex);
    ++starting;
    Report();
    mine = generation;
  }
  EntryPtr member = impl.Obtain(row.id);
  async::Mutex::Lock lock = co_await member->lifecycle.Acquire();
  Result<void> made;
  if (impl.retired) made = Fail(Code::kCancelled, "a newer daemon takes over");
  if (made) made = co_await Launch(member, std::move(row));
  lock.Unlock();
  if (made) made = co_await Prepare(member);
  bool kept = false;
  {
    std::lock_guard guard(mutex);
    --starting;
    failures = made ? 0 : failures + 1;
    kept = made && mine == generation;
    if (kept) waiting.push_back(member);
    Report();
    if (!made) {
      auto pause = std::min(kLongestPause, kFirstPause * (1 << std::min(failures, 8)));
      hold_until = std::max(hold_until, Clock::now() + pause);
    }
  }
  if (kept) {
    log::Info("pool: member {} is ready after {:.0f} ms", iid, watch.Lap());
  } else if (member->exists) {
    co_await Retire(member, made ? "the pool was emptied" : made.error().message);
  } else {
    impl.Discard(member);
    if (!made) log::Warning("pool: {}", made.error().message);
  }
}

// Those that are dead or made of something else, and `surplus` of the others.
std::vector<Registry::WarmPool::EntryPtr> Registry::WarmPool::TakeStale(const std::string& image,
                                                                        const std::string& key,
                                                                        int64_t surplus) {
  std::vector<EntryPtr> taken;
  std::lock_guard guard(mutex);
  std::erase_if(waiting, [&](const EntryPtr& member) {
    if (member->row.image != image) return false;
    bool stale = member->row.pool_key != key || HasEnded(member->sandbox->pidfd_.get());
    bool goes = stale || surplus-- > 0;
    if (goes) taken.push_back(member);
    return goes;
  });
  Report();
  return taken;
}

// One whose agent is dead need not look so: what stands still does not end, and PID 1 waits for it.
async::Task<> Registry::WarmPool::Examine() {
  std::vector<EntryPtr> all;
  {
    std::lock_guard guard(mutex);
    all = waiting;
  }
  for (EntryPtr& member : all) {
    // It may be somebody's by now.
    std::shared_ptr<Sandbox> sandbox;
    {
      std::lock_guard guard(impl.mutex);
      sandbox = member->sandbox;
    }
    if (!sandbox) continue;
    Result<void> answers = co_await sandbox->agent().WaitReady(kAgentLimit);
    if (answers) continue;
    bool ours = false;
    {
      std::lock_guard guard(mutex);
      ours = std::erase(waiting, member) > 0;
      Report();
    }
    if (ours) co_await Retire(member, answers.error().message);
  }
}

async::Task<bool> Registry::WarmPool::RoundOf(std::string image) {
  auto look = [this, &image] { return KeyOf(image); };
  Result<std::string> key = co_await impl.runtime.blocking().Run(look);
  std::vector<EntryPtr> stale = TakeStale(image, key ? *key : std::string(), 0);
  co_await RetireAll(std::move(stale), "it has ended, or was made of what is old");
  if (!key) co_return false;  // an image that does not exist yet
  auto load_of_host = [] { return ReadHostLoad(); };
  Result<HostLoad> load = co_await impl.runtime.blocking().Run(load_of_host);
  if (!load) {
    log::Error("pool: {}", load.error().message);
    co_return false;
  }
  for (uint32_t made = 0; made < std::max(1U, options.scale_batch_size) && !ending; ++made) {
    int64_t change = 0;
    bool held = false;
    {
      std::lock_guard guard(mutex);
      size_t members = static_cast<size_t>(std::ranges::count_if(
          waiting, [&](const EntryPtr& member) { return member->row.image == image; }));
      std::lock_guard entries_guard(impl.mutex);
      size_t others =
          static_cast<size_t>(std::ranges::count_if(impl.entries, [&](const auto& item) {
            const Row& row = item.second->row;
            // One that rests costs no more than its files.
            return item.second->exists && row.pool_key.empty() && row.state != State::kStopped &&
                   row.image == image;
          }));
      change = PoolChange(options, Wanted(options, demand[image].LastMinute()), members, others);
      // One at a time, so that the rest is not hit by what they free.
      if (members > 0 && IsShort(options, *load)) change = -1;
      held = Clock::now() < hold_until;
    }
    if (change < 0) {
      std::vector<EntryPtr> surplus = TakeStale(image, *key, -change);
      co_await RetireAll(std::move(surplus), "there are more than are wanted or fit");
    }
    if (change <= 0 || held) {
      bool soon = co_await TemplateRound(image, *key, *load);
      co_return soon;
    }
    if (!IsQuiet() || !HasHeadroom(options, *load)) co_return true;
    co_await MakeOne(image, *key);
    load = co_await impl.runtime.blocking().Run(load_of_host);
    if (!load) co_return false;
  }
  co_return true;
}

async::Task<bool> Registry::WarmPool::Round() {
  bool again = false;
  co_await Examine();
  for (const std::string& image : options.images) {
    bool more = co_await RoundOf(image);
    again = again || more;
  }
  co_return again;
}

async::Task<> Registry::WarmPool::Run() {
  co_await AdoptAll();
  auto tidy = [this] { RemoveOldTemplates(); };
  co_await impl.runtime.blocking().Run(tidy);
  while (!ending && (options.warm_target > 0 || options.templates)) {
    std::shared_ptr<async::Event> woken;
    {
      std::lock_guard guard(mutex);
      woken = wake;
    }
    bool again = false;
    if (!impl.retired) again = co_await Round();
    milliseconds pause = options.refresh_interval;
    if (again) pause = std::min(pause, IsQuiet() ? kAgain : kSoon);
    co_await async::WithTimeout(pause, WaitFor(std::move(woken)));
  }
  ended.Set();
}

}  // namespace atl::sandbox
