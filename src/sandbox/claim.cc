// SPDX-License-Identifier: Apache-2.0
// A member of the warm pool becomes somebody's. One transaction decides: before it the sandbox is
// the pool's, after it its owner's, whatever happens to the daemon in between. What is left to do
// then can be done again, and a member that fails at it is replaced by a container that is new.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/warm_pool.h"
#include "sys/namespace.h"

namespace atl::sandbox {
namespace {

async::Task<> ConfigureInto(AgentClient& agent, const Row& row, Result<void>& result) {
  result = co_await agent.Configure(row.id, std::string(kMemberHostname), row.env);
}

template <class Function>
async::Task<> RunInto(async::Runtime& runtime, Function function, Result<void>& result) {
  result = co_await runtime.blocking().Run(std::move(function));
}

bool SameCgroup(const Limits& a, const Limits& b) {
  return a.memory_bytes == b.memory_bytes && a.cpus == b.cpus && a.pids == b.pids &&
         a.weight == b.weight;
}

}  // namespace

Unexpected PoolIsEmpty() {
  return Fail(Code::kUnavailable, "no member of the pool waits for this", "POOL_EMPTY");
}

// A host that is short of memory has spent it on those that wait, too: who takes one of them over
// needs no more of it.
async::Task<Result<Admission::Ticket>> Registry::Impl::AdmitClaim(std::string id,
                                                                  CreateOptions create) {
  if (!pool || Exists(id)) co_return PoolIsEmpty();
  Row row = NewRow(id, std::move(create));
  if (!pool->IsReadyFor(row)) co_return PoolIsEmpty();
  RoomFor demand{.id = std::move(id),
                 .memory_bytes = row.limits.memory_bytes,
                 .disk_bytes = row.limits.disk_bytes,
                 .has_memory = true};
  Result<Admission::Ticket> ticket =
      co_await admission.Admit(std::move(demand), std::chrono::milliseconds(0));
  co_return ticket;
}

async::Task<Result<void>> Registry::Impl::BecomeSomebodys(std::shared_ptr<Sandbox> sandbox,
                                                          Row row) {
  auto outside = [this, &row]() -> Result<void> {
    sys::Cgroup cgroup = launcher.CgroupOf(row.iid);
    if (!SameCgroup(row.limits, options.limits)) {
      TRY(cgroup.SetLimits({.memory_bytes = row.limits.memory_bytes,
                            .cpus = row.limits.cpus,
                            .pids = row.limits.pids,
                            .weight = row.limits.weight}));
    }
    return cgroup.Freeze(false);
  };
  Result<void> changed;
  Result<void> configured;
  co_await async::Both(RunInto(runtime, std::move(outside), changed),
                       ConfigureInto(sandbox->agent(), row, configured));
  CO_TRY(std::move(changed));
  CO_TRY(std::move(configured));
  // Last: a daemon that finds the name takes all of it for done.
  auto name = [&sandbox, &row] { return sys::SetHostname(sandbox->pidfd_.get(), row.id); };
  Result<void> named = co_await runtime.blocking().Run(name);
  co_return named;
}

async::Task<Registry::Impl::FromPool> Registry::Impl::TakeMember(EntryPtr entry, Row row, bool cool,
                                                                 Phases& phases) {
  if (!pool || !pool->Serves(row)) co_return FromPool::kNone;
  Stopwatch watch;
  metrics::Measure measure(metrics::Get().claim_seconds);
  EntryPtr member;
  auto take = [this, &row, &member]() -> Result<void> {
    // What is wrong with the wish itself is said by who makes a new one.
    TRY(ValidateLimits(row.limits));
    TRY(ValidateCreateEnv(row.env));
    member = pool->Take(row);
    if (!member) return {};
    row.iid = member->row.iid;
    row.id_index = member->row.id_index;
    return rows.Claim(row);
  };
  Result<void> taken = co_await runtime.blocking().Run(take);
  pool->Wake();
  if (!member) measure.Drop();
  if (!member) co_return FromPool::kNone;
  if (!taken) {
    log::Warning("pool: member {} is not used: {}", row.iid, taken.error().message);
    async::Spawn(runtime.NextShard(), pool->Retire(member, "it could not be given away"), "pool");
    co_return FromPool::kNone;
  }
  // The agent is asked with the new environment from here on.
  auto sandbox = std::make_shared<Sandbox>(Info(), MakeAgent(row));
  {
    std::lock_guard guard(mutex);
    sandbox->pidfd_ = std::move(member->sandbox->pidfd_);
    sandbox->pid_ = member->sandbox->pid_;
    sandbox->network_ = std::move(member->sandbox->network_);
    member->sandbox.reset();
    member->exists = false;
    member->removed = true;
    entries.erase(member->row.id);
    row.state = State::kRunning;
    row.changed_at_ms = row.created_at_ms;
    entry->row = row;
    entry->exists = true;
    // Until it is what it is to be.
    entry->reserved = true;
    entry->looked_at = std::chrono::steady_clock::now();
    sandbox->info_ = InfoOf(*entry);
    entry->sandbox = sandbox;
  }
  Result<void> done = co_await BecomeSomebodys(sandbox, row);
  if (done && pool->options.opencode) {
    if (cool) co_await pool->hooks.cool(sandbox);
    if (!cool) pool->hooks.claimed(row.id);
  }
  phases.emplace_back("claim", watch.Lap());
  measure.Succeeded(done.has_value());
  if (done) co_return FromPool::kWorks;
  log::Warning("sandbox {}: what was prepared for it does not work, it gets a new one: {}", row.id,
               done.error().message);
  co_return FromPool::kBroken;
}

async::Task<Result<void>> Registry::Impl::LaunchAfresh(EntryPtr entry, Phases& phases) {
  CO_TRY(co_await StopContainer(entry));
  co_await DropLayer(entry);
  auto write = [this, &entry] { return rows.SetState(entry->row.iid, State::kRunning); };
  CO_TRY(co_await runtime.blocking().Run(write));
  CO_TRY(co_await Launch(entry, false, phases));
  co_return Result<void>();
}

void Registry::SetUpPool(PoolOptions options, PoolHooks hooks) {
  if (options.images.empty()) options.images = {impl_->options.default_image};
  impl_->pool = std::make_shared<WarmPool>(*impl_, std::move(options), std::move(hooks));
}

void Registry::StartPool() {
  if (!impl_->pool) return;
  async::Spawn(impl_->runtime.shard(impl_->runtime.shard_count() - 1), impl_->pool->Run(),
               "the warm pool");
}

async::Task<> Registry::StopPool() {
  std::shared_ptr<WarmPool> pool = impl_->pool;
  if (!pool) co_return;
  pool->ending = true;
  pool->Wake();
  co_await pool->ended.Wait();
}

PoolStats Registry::pool_stats() const {
  PoolStats stats;
  WarmPool* pool = impl_->pool.get();
  if (pool == nullptr) return stats;
  stats.options = pool->options;
  std::lock_guard guard(pool->mutex);
  stats.warm = pool->waiting.size();
  stats.starting = pool->starting;
  stats.hits = pool->hits;
  stats.misses = pool->misses;
  for (const std::string& image : pool->options.images) {
    stats.wanted += Wanted(pool->options, pool->demand[image].LastMinute());
  }
  std::lock_guard entries_guard(impl_->mutex);
  for (const auto& [id, entry] : impl_->entries) {
    bool counts = entry->exists && entry->row.pool_key.empty() &&
                  entry->row.state != State::kStopped && pool->HasImage(entry->row.image);
    if (counts) ++stats.assigned;
  }
  return stats;
}

void Registry::PrimePool() {
  if (!impl_->pool) return;
  {
    std::lock_guard guard(impl_->pool->mutex);
    impl_->pool->hold_until = {};
  }
  impl_->pool->Wake();
}

async::Task<> Registry::EmptyPool() {
  WarmPool* pool = impl_->pool.get();
  if (pool == nullptr) co_return;
  std::vector<Impl::EntryPtr> members;
  {
    std::lock_guard guard(pool->mutex);
    members = std::exchange(pool->waiting, {});
    pool->Report();
    ++pool->generation;
    pool->hold_until = WarmPool::Clock::now() + pool->options.refresh_interval;
  }
  co_await pool->RetireAll(std::move(members), "the pool was emptied");
}

size_t Registry::Count() const {
  std::lock_guard guard(impl_->mutex);
  return static_cast<size_t>(
      std::ranges::count_if(impl_->entries, [](const auto& item) { return item.second->exists; }));
}

}  // namespace atl::sandbox
