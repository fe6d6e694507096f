// SPDX-License-Identifier: Apache-2.0
// Looks at what sandboxes use, and whether there is room for more of them.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/registry_impl.h"
#include "sandbox/warm_pool.h"

namespace atl::sandbox {
namespace {

// Directories without a quota are walked through; so many entries take a fraction of a second.
constexpr uint64_t kMostEntries = 100'000;

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool Runs(State state) { return state == State::kRunning || state == State::kPaused; }

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

struct Registry::Impl::Looked {
  std::string id;
  std::string iid;
  int pid = 0;
  UsageCounts counts;
};

// Those that run and do not sleep: what sleeps uses nothing, and is not woken by being looked at.
std::vector<Registry::Impl::Looked> Registry::Impl::WhoRuns() {
  std::vector<Looked> found;
  std::set<std::string> exist;
  std::lock_guard guard(mutex);
  for (const auto& [id, entry] : entries) {
    if (!entry->exists) continue;
    const std::string& iid = entry->row.iid;
    exist.insert(iid);
    if (entry->row.state == State::kRunning && entry->sandbox) {
      Looked looked{.id = entry->row.id, .iid = iid, .pid = entry->sandbox->pid_};
      if (entry->sandbox->network_) {
        egress::Traffic traffic = entry->sandbox->network_->traffic();
        looked.counts.sent_bytes = traffic.sent_bytes;
        looked.counts.received_bytes = traffic.received_bytes;
      }
      found.push_back(std::move(looked));
    } else if (!Runs(entry->row.state)) {
      usage_book.End(iid);
    }
  }
  usage_book.Keep(exist);
  return found;
}

namespace {

// What programs would have to give up themselves.
uint64_t Needed(const sys::CgroupUsage& usage) {
  return usage.memory_bytes - std::min(usage.memory_bytes, usage.inactive_file_bytes);
}

}  // namespace

void Registry::Impl::LookAt(Looked& one) {
  int64_t began_ms = NowMs();
  auto measured = launcher.CgroupOf(one.iid).Usage();
  if (!measured) return;  // it has just ended
  double now = SteadySeconds();
  one.counts.at_ms = NowMs();
  one.counts.at_seconds = now;
  one.counts.cpu_usec = measured->cpu_usec;
  one.counts.memory_bytes = Needed(*measured);
  one.counts.processes = measured->pids;
  usage_book.Add(one.iid, one.counts);
  NoteOom(one.id, one.iid, measured->oom_kills, began_ms);
  if (!launcher.layers().IsCheapToMeasure(one.iid) && !usage_book.WantsWalk(one.iid, now)) return;
  auto disk = launcher.layers().Usage(one.iid, one.pid, kMostEntries);
  if (!disk) return;
  usage_book.SetDisk(one.iid,
                     {.bytes = disk->bytes, .inodes = disk->inodes, .complete = disk->complete},
                     SteadySeconds());
}

void Registry::Impl::NoteAsleep(const std::string& iid) {
  auto used = launcher.CgroupOf(iid).Usage();
  if (used) usage_book.AddAsleep(iid, NowMs(), Needed(*used));
}

void Registry::Impl::NoteOom(const std::string& id, const std::string& iid, uint64_t oom_kills,
                             int64_t began_ms) {
  if (!usage_book.NoteOom(iid, oom_kills, began_ms, NowMs())) return;
  log::Warning("sandbox {}: the kernel ended a program for want of memory", id);
  async::Spawn(runtime.NextShard(), WriteOom(id, iid), "note an OOM");
}

async::Task<> Registry::Impl::WriteOom(std::string id, std::string iid) {
  auto write = [this, &id, &iid] {
    return events.Append(iid, id, "oom", "a program was ended for want of memory");
  };
  Result<void> written = co_await runtime.blocking().Run(write);
  if (!written) log::Warning("sandbox {}: {}", id, written.error().message);
}

async::Task<> Registry::RunUsage() {
  Impl& impl = *impl_;
  while (!impl.automatic_stops.is_set()) {
    auto round = [&impl]() -> Result<void> {
      for (Impl::Looked& one : impl.WhoRuns()) impl.LookAt(one);
      return {};
    };
    (void)co_await impl.runtime.blocking().Run(round);
    co_await async::WithTimeout(kUsagePause, WaitFor(impl.automatic_stops));
  }
}

std::optional<UsageReport> Registry::Usage(std::string_view id, bool with_history) const {
  std::string iid;
  {
    std::lock_guard guard(impl_->mutex);
    auto found = impl_->entries.find(id);
    if (found == impl_->entries.end() || !found->second->exists) return std::nullopt;
    iid = found->second->row.iid;
  }
  return impl_->usage_book.Of(iid, with_history);
}

HostState Registry::Impl::LookAtHost() const {
  HostState host = ReadHostState(options.state_dir);
  host.disk_free -= std::min(host.disk_free, launcher.disk_guard().owed());
  return host;
}

Occupancy Registry::Impl::CountLoad(const std::set<std::string>& starting) const {
  Occupancy load;
  std::set<std::string> fresh = starting;
  if (count_boots) load.booting = count_boots();
  std::lock_guard guard(mutex);
  for (const auto& [id, entry] : entries) {
    const Row& row = entry->row;
    // Members of a pool make room when they are asked to.
    if (!entry->exists || !row.pool_key.empty()) continue;
    ++load.sandboxes;
    load.disk_promised += row.limits.disk_bytes;
    bool begins = row.state == State::kCreating;
    if (Runs(row.state) || begins) load.promised += row.limits.memory_bytes;
    if (begins && !starting.contains(id)) ++load.starting;
    fresh.erase(id);
  }
  load.sandboxes += fresh.size();
  load.starting += starting.size();
  return load;
}

async::Task<Result<Admission::Ticket>> Registry::Impl::Admit(std::string id, AskedFor asked,
                                                             std::chrono::milliseconds wait,
                                                             bool from_pool) {
  EntryPtr entry = Lookup(id);
  if (entry && Alive(entry)) co_return Admission::Ticket();
  RoomFor demand{.id = std::move(id),
                 .memory_bytes = asked.memory_bytes.value_or(options.limits.memory_bytes),
                 .disk_bytes = asked.disk_bytes.value_or(options.limits.disk_bytes)};
  if (entry) {
    std::lock_guard guard(mutex);
    demand.adds = !entry->exists;
    // One that sleeps has its memory already, or has it on swap.
    if (entry->exists && entry->row.state == State::kPaused) co_return Admission::Ticket();
    // An earlier daemon's that runs, and has not been looked at yet.
    if (!reconciled && entry->exists && Runs(entry->row.state)) co_return Admission::Ticket();
    if (entry->exists) demand.memory_bytes = entry->row.limits.memory_bytes;
  }
  if (!pool || !from_pool) {
    Result<Admission::Ticket> ticket = co_await admission.Admit(std::move(demand), wait);
    if (!ticket && retired) co_return Replaced();
    co_return ticket;
  }
  Result<Admission::Ticket> ticket = co_await admission.Admit(demand, std::chrono::milliseconds(0));
  while (!ticket) {
    bool more = co_await pool->MakeRoom(admission.MissingMemory(demand));
    if (!more) break;
    ticket = co_await admission.Admit(demand, std::chrono::milliseconds(0));
  }
  if (!ticket && wait.count() > 0) ticket = co_await admission.Admit(std::move(demand), wait);
  if (!ticket && retired) co_return Replaced();
  co_return ticket;
}

}  // namespace atl::sandbox
