// SPDX-License-Identifier: Apache-2.0
// Copies of a sandbox in which what runs goes on. The source is held by CRIU while its processes
// are written and its files are copied, and goes on when that is done, has failed, or nobody is
// left who waits for it. The copies go on from what was written, one after the other.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

#include "base/log.h"
#include "sandbox/registry_impl.h"
#include "sys/namespace.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::milliseconds kDrawPause{50};

Unexpected MemoryFailed(Error error) {
  if (error.reason.empty()) error.reason = "FORK_MEMORY_FAILED";
  if (error.code == Code::kInternal) error.code = Code::kUnavailable;
  return Unexpected(std::move(error));
}

// What OpenCode draws until it is written to files, and a little longer.
class Draws {
 public:
  void Add(std::string id) {
    std::lock_guard guard(mutex_);
    ids_.push_back(std::move(id));
  }
  // It stands still: what comes next was drawn just before.
  void Hold() {
    std::lock_guard guard(mutex_);
    held_at_ = ids_.size();
  }
  void End() { ended_ = true; }
  bool ended() const { return ended_; }
  std::vector<std::string> Last() const {
    std::lock_guard guard(mutex_);
    size_t begin = held_at_ < 2 ? 0 : held_at_ - 2;
    size_t end = std::min(ids_.size(), held_at_ + 1);
    return {ids_.begin() + static_cast<long>(begin), ids_.begin() + static_cast<long>(end)};
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> ids_;
  size_t held_at_ = 0;
  std::atomic<bool> ended_ = false;
};

async::Task<> AndThenEnd(async::Task<> write, Draws& draws) {
  co_await std::move(write);
  draws.End();
}

async::Task<> DrawAlong(const ForkHooks& hooks, std::shared_ptr<Sandbox> sandbox, Draws& draws) {
  while (!draws.ended()) {
    Result<std::string> drawn = co_await hooks.draw(sandbox);
    if (!drawn) break;
    draws.Add(*std::move(drawn));
    co_await async::Sleep(kDrawPause);
  }
}

}  // namespace

async::Task<> Registry::Impl::WriteCopies(const Source& source, const std::vector<Row>& targets,
                                          std::function<void()> on_hold, Result<ForkFacts>& facts) {
  const Row& row = source.row;
  const std::string& first = targets.front().iid;
  std::stop_token deleted = DeletionOf(source.held.entry);
  auto hold = [this, &row, &first, &on_hold,
               &deleted](const std::function<Result<void>()>& last_pass) {
    auto while_still = [&]() -> Result<void> {
      on_hold();
      return last_pass();
    };
    return launcher.CopyMemory({.iid = row.iid,
                                .id_base = row.id_base(),
                                .to = first,
                                .memory_bytes = row.limits.memory_bytes,
                                .while_still = while_still,
                                .stop = deleted});
  };
  auto write = [this, &row, &targets, &hold, &deleted] {
    AtWork working(at_work);
    std::stop_source stop;
    std::stop_callback daemon_ends(ending.get_token(), [&stop] { stop.request_stop(); });
    std::stop_callback when_deleted(deleted, [&stop] { stop.request_stop(); });
    return CopyLayers(launcher,
                      {.source = row, .targets = targets, .hold = hold, .stop = stop.get_token()});
  };
  facts = co_await transfers.Run(write);
}

async::Task<Result<Registry::Impl::MemoryCopy>> Registry::Impl::CopyAwake(
    const Source& source, std::shared_ptr<Sandbox> sandbox, const std::vector<Row>& targets,
    ForkFacts& facts) {
  MemoryCopy copy;
  Draws draws;
  if (fork_hooks.runs) {
    CO_ASSIGN(copy.with_opencode, co_await fork_hooks.runs(sandbox));
  }
  Result<ForkFacts> written = Fail(Code::kInternal, "nothing was written");
  async::Task<> write = WriteCopies(source, targets, [&draws] { draws.Hold(); }, written);
  if (copy.with_opencode) {
    Result<std::string> drawn = co_await fork_hooks.draw(sandbox);
    if (drawn) draws.Add(*std::move(drawn));
    co_await async::Both(AndThenEnd(std::move(write), draws),
                         DrawAlong(fork_hooks, sandbox, draws));
  } else {
    co_await std::move(write);
  }
  CO_ASSIGN(facts, std::move(written));
  auto share = [this, &targets, &draws, &copy]() -> Result<void> {
    const std::string& first = targets.front().iid;
    if (copy.with_opencode) {
      Result<void> unseeded = fork_hooks.unseed(launcher.CopiedImages(first), draws.Last());
      copy.keep_opencode = unseeded.has_value();
      if (!unseeded) log::Warning("OpenCode boots in the copies: {}", unseeded.error().message);
    }
    std::vector<oci::Launcher::MemoryShare> shares;
    for (const Row& target : targets) {
      shares.push_back({.iid = target.iid, .id_base = target.id_base()});
    }
    ASSIGN(copy.checkpoints, launcher.ShareMemory(first, shares));
    return {};
  };
  CO_TRY(co_await transfers.Run(share));
  co_return copy;
}

async::Task<Result<Registry::Impl::MemoryCopy>> Registry::Impl::CopyWithMemory(
    const Source& source, const std::vector<Row>& targets, ForkFacts& facts) {
  const Row& row = source.row;
  const bool asleep = row.state == State::kPaused;
  auto look = [this, &row] { return LoadBuckets(launcher.BucketsFile(row.iid)); };
  CO_ASSIGN(std::vector<KeptBucket> buckets, co_await runtime.blocking().Run(look));
  if (!buckets.empty()) {
    co_return Fail(Code::kFailedPrecondition,
                   fmt::format("sandbox {} has buckets, which are no part of its memory", row.id),
                   "FORK_MEMORY_FAILED");
  }
  std::shared_ptr<Sandbox> sandbox = Living(source.held.entry);
  if (!sandbox) {
    co_return Fail(Code::kFailedPrecondition, fmt::format("sandbox {} has just ended", row.id),
                   "CONTAINER_UNAVAILABLE");
  }
  // What stands still in its group can be neither asked nor written. A daemon that dies here leaves
  // a row that says that it sleeps.
  auto freeze = [this, &row](bool frozen) {
    return [this, &row, frozen] { return launcher.CgroupOf(row.iid).Freeze(frozen); };
  };
  if (asleep) {
    CO_TRY(co_await runtime.blocking().Run(freeze(false)));
  }
  Result<MemoryCopy> copy = co_await CopyAwake(source, sandbox, targets, facts);
  if (asleep) {
    Result<void> frozen = co_await runtime.blocking().Run(freeze(true));
    // It is awake although its row says that it sleeps, until somebody wakes it.
    if (!frozen) log::Warning("sandbox {}: {}", row.id, frozen.error().message);
    facts.freeze_ms = 0;
  }
  if (!copy) co_return MemoryFailed(std::move(copy).error());
  facts.memory = true;
  co_return copy;
}

async::Task<Result<void>> Registry::Impl::BecomeCopy(std::shared_ptr<Sandbox> sandbox, Row row,
                                                     std::string former, bool keep_opencode) {
  CO_TRY(co_await sandbox->agent().BecomeCopy());
  CO_TRY(co_await sandbox->agent().Configure(row.id, std::move(former), row.env));
  if (!keep_opencode && fork_hooks.end) co_await fork_hooks.end(sandbox);
  // Last: who has another name than its row is no whole copy yet.
  auto name = [&sandbox, &row] { return sys::SetHostname(sandbox->pidfd_.get(), row.id); };
  CO_TRY(co_await runtime.blocking().Run(name));
  co_return Result<void>();
}

async::Task<Result<void>> Registry::Impl::LaunchCopy(EntryPtr entry, const std::string& checkpoint,
                                                     std::string former, MemoryCopy copy,
                                                     Phases& phases) {
  const Row row = entry->row;
  Result<void> launched = co_await Launch(entry, true, phases, checkpoint);
  auto drop = [this, &row] { return launcher.DropMemory(row.iid); };
  Result<void> dropped = co_await runtime.blocking().Run(drop);
  if (!dropped) log::Error("sandbox {}: {}", row.id, dropped.error().message);
  if (!launched) co_return MemoryFailed(std::move(launched).error());
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    sandbox = entry->sandbox;
  }
  Stopwatch watch;
  CO_TRY(co_await BecomeCopy(sandbox, row, std::move(former), copy.keep_opencode));
  if (copy.keep_opencode) fork_hooks.made(row.id);
  phases.emplace_back("become", watch.Lap());
  co_return Result<void>();
}

}  // namespace atl::sandbox
