// SPDX-License-Identifier: Apache-2.0
// What happens by itself: snapshots at intervals, saving again what could not be saved, removal of
// what has expired.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{2'000};
constexpr std::chrono::seconds kSaveAgainPause{30};
// A repository that was locked is tried again soon.
constexpr std::chrono::minutes kPruneAgain{10};
constexpr std::chrono::milliseconds kEndLimit{5'000};
// A daemon that has just started has better things to do.
constexpr std::chrono::seconds kFirstPrune{300};
constexpr size_t kSavesAtOnce = 4;
// A deletion keeps its row as long as the store has anything of the id: by it a sandbox that is
// made again begins empty, and what was saved of the deleted one expires. Without snapshots it
// means nothing; that another store which was in use before may be so again is thought of for this
// long.
constexpr std::chrono::milliseconds kKeepDeleted = std::chrono::hours(24 * 90);
constexpr size_t kMaxDeleted = 100'000;

}  // namespace

async::Task<> Registry::Impl::IntervalRound() {
  auto now = steady_clock::now();
  std::vector<std::string> due;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) {
      if (!entry->exists || entry->row.state != State::kRunning || entry->reserved) continue;
      auto interval = PolicyOf(entry->row).interval;
      if (interval.count() > 0 && now - entry->looked_at >= interval) due.push_back(id);
    }
  }
  for (const std::string& id : due) {
    EntryPtr entry = Lookup(id);
    if (!entry) continue;
    async::Mutex::Lock lock = co_await entry->transfer.Acquire();
    std::shared_ptr<Sandbox> sandbox = Alive(entry);
    if (!sandbox) continue;
    auto saved = co_await Save(sandbox, entry, repository::Trigger::kInterval);
    if (!saved) log::Warning("snapshot of {}: {}", id, saved.error().message);
    std::lock_guard guard(mutex);
    entry->looked_at = steady_clock::now();
  }
}

// A sandbox that is unknown here may be another host's. The database is asked once, not with the
// repository's locks held.
std::function<bool(std::string_view)> Registry::Impl::MayBeNeeded() {
  auto deleted = rows.DeletedIds();
  if (!deleted) return [](std::string_view) { return true; };
  return [this, deleted = std::move(*deleted)](std::string_view sandbox) {
    return Lookup(sandbox) != nullptr || !deleted.contains(std::string(sandbox));
  };
}

async::Task<bool> Registry::Impl::PruneRound() {
  auto prune = [this]() -> Result<void> {
    ASSIGN(snapshot::Vault::Repo repository, vault.Get());
    ClockReading now = ReadClock();
    // A prune looks at ages, too: of locks, and of what others may still be writing.
    if (auto why = clock.WhyNotToRemove(now)) return Fail(Code::kFailedPrecondition, *why);
    ASSIGN(uint64_t forgotten, snapshot::Forget(*repository, options.retention.keep,
                                                now.wall_ms / 1'000, MayBeNeeded()));
    ASSIGN(snapshot::PruneResult pruned,
           snapshot::Prune(*repository, {.stop = ending.get_token()}));
    if (forgotten + pruned.packs_removed > 0) {
      log::Info("{} snapshots have expired, {} bytes of the store are free again", forgotten,
                pruned.bytes_freed);
    }
    std::set<std::string> saved;
    for (const repository::SnapshotRecord& record : repository->Snapshots()) {
      saved.insert(record.decoded_tags().sandbox);
    }
    TRY(rows.ForgetDeleted(saved, now.wall_ms - kKeepDeleted.count(), kMaxDeleted));
    return {};
  };
  Result<void> pruned = co_await transfers.Run(prune);
  if (!pruned) log::Warning("remove expired snapshots: {}", pruned.error().message);
  co_return pruned.has_value();
}

// Deriving its key takes half a second, which no request should wait for.
async::Task<> Registry::OpenVault() {
  auto get = [this] { return impl_->vault.Get(); };
  Result<snapshot::Vault::Repo> opened = co_await impl_->transfers.Run(get);
  if (!opened) log::Error("{}; it is tried again when it is needed", opened.error().message);
}

void Registry::StartAutomatic() {
  async::Spawn(impl_->runtime.shard(impl_->runtime.shard_count() - 1), OpenVault(),
               "open the repository");
  async::Spawn(impl_->runtime.shard(impl_->runtime.shard_count() - 1), RunAutomatic(),
               "automatic snapshots");
  async::Spawn(impl_->runtime.shard(impl_->runtime.shard_count() - 1), RunAgain(), "try again");
  async::Spawn(impl_->runtime.NextShard(), RunUsage(), "look at what sandboxes use");
}

void Registry::StartIdle() {
  async::Spawn(impl_->runtime.shard(impl_->runtime.shard_count() - 1), RunIdle(), "idleness");
}

namespace {

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

async::Task<> Registry::RunAutomatic() {
  auto saved_again = steady_clock::now();
  auto prune_at = steady_clock::now() +
                  std::min<std::chrono::seconds>(kFirstPrune, impl_->options.prune_interval);
  while (!impl_->automatic_stops.is_set()) {
    co_await async::WithTimeout(kTick, WaitFor(impl_->automatic_stops));
    if (impl_->automatic_stops.is_set()) break;
    co_await impl_->IntervalRound();
    auto now = steady_clock::now();
    if (now - saved_again >= kSaveAgainPause) {
      co_await impl_->SaveAgainRound();
      saved_again = steady_clock::now();
    }
    if (impl_->options.prune_interval.count() > 0 && now >= prune_at) {
      bool pruned = co_await impl_->PruneRound();
      prune_at = steady_clock::now();
      prune_at += pruned
                      ? impl_->options.prune_interval
                      : std::min<std::chrono::seconds>(impl_->options.prune_interval, kPruneAgain);
    }
  }
  impl_->automatic_stopped.Set();
}

async::Task<> Registry::StopAutomatic() {
  impl_->automatic_stops.Set();
  co_await impl_->automatic_stopped.Wait();
}

async::Task<> Registry::SaveAgain() { co_await impl_->SaveAgainRound(); }

async::Task<> Registry::GiveUpTransfers() {
  impl_->automatic_stops.Set();
  impl_->ending.request_stop();
  auto limit = steady_clock::now() + kEndLimit;
  while (impl_->at_work > 0 && steady_clock::now() < limit) {
    co_await async::Sleep(std::chrono::milliseconds(20));
  }
  auto thaw = [this] { ThawAll(); };
  co_await impl_->runtime.blocking().Run(thaw);
}

void Registry::ThawAll() {
  // A newer daemon says who sleeps.
  if (impl_->retired) return;
  std::vector<std::string> iids;
  {
    std::lock_guard guard(impl_->mutex);
    for (const auto& [id, entry] : impl_->entries) {
      // A member of the pool stands still for longer.
      bool stands = entry->row.state == State::kPaused || IsMemberId(id);
      if (entry->sandbox && !stands) iids.push_back(entry->row.iid);
    }
  }
  for (const std::string& iid : iids) (void)impl_->launcher.CgroupOf(iid).Freeze(false);
}

async::Task<> Registry::SaveAll() {
  std::vector<std::string> ids;
  for (const Info& info : List()) {
    bool lives = info.state == State::kRunning || info.state == State::kPaused;
    if (lives && info.snapshots.on_stop) ids.push_back(info.id);
  }
  co_await SaveSome(ids, 0, std::min(kSavesAtOnce, ids.size()));
}

// Every `step`-th, beginning with `begin`, one after the other; the rest beside it.
async::Task<> Registry::SaveSome(const std::vector<std::string>& ids, size_t begin, size_t step) {
  if (begin >= step) co_return;
  co_await async::Both(SaveEach(ids, begin, step), SaveSome(ids, begin + 1, step));
}

async::Task<> Registry::SaveEach(const std::vector<std::string>& ids, size_t begin, size_t step) {
  for (size_t i = begin; i < ids.size(); i += step) {
    Impl::EntryPtr entry = impl_->Lookup(ids[i]);
    if (!entry) continue;
    async::Mutex::Lock lock = co_await entry->transfer.Acquire();
    std::shared_ptr<Sandbox> sandbox = impl_->Living(entry);
    if (!sandbox) continue;
    auto saved = co_await impl_->Save(sandbox, entry, repository::Trigger::kStop);
    if (!saved) log::Error("sandbox {} is not saved: {}", ids[i], saved.error().message);
  }
}

}  // namespace atl::sandbox
