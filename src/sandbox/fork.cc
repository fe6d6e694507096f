// SPDX-License-Identifier: Apache-2.0
// Forks: new sandboxes with the files of one that exists. Rows first: what a daemon that dies
// leaves of a fork is undone like any sandbox that was being created.
#include "sandbox/fork.h"

#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/id.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

constexpr int kMostNumbers = 10'000;

Unexpected Taken(std::string_view id) {
  return Fail(Code::kAlreadyExists, fmt::format("there is a sandbox {} already", id),
              "SANDBOX_EXISTS");
}

// What a copy is made of beside files.
Row CopyOf(const Row& source, const std::string& id) {
  Row row = source;
  row.id = id;
  row.iid = NewInternalId();
  row.state = State::kCreating;
  row.id_index = 0;
  row.created_at_ms = NowMs();
  row.changed_at_ms = 0;
  row.failure.clear();
  row.unsaved = false;
  row.recover = false;
  row.pool_key.clear();
  return row;
}

}  // namespace

bool Registry::Impl::Exists(std::string_view id) const {
  std::lock_guard guard(mutex);
  auto found = entries.find(id);
  return found != entries.end() && found->second->exists;
}

// A name for a copy, with a row of it and locked.
async::Task<Result<Registry::Impl::Held>> Registry::Impl::Claim(std::string id, Row source) {
  CO_TRY(ValidateId(id));
  // Nobody waits for one that exists, which may be the source, or be forked to it.
  if (Exists(id)) co_return Taken(id);
  const AskedFor asked{.memory_bytes = source.limits.memory_bytes,
                       .disk_bytes = source.limits.disk_bytes};
  CO_ASSIGN(Admission::Ticket ticket, co_await Admit(id, asked, std::chrono::milliseconds(0)));
  CO_ASSIGN(Held held, co_await Hold(id, true));
  if (held.entry->exists) co_return Taken(id);
  auto insert = [this, row = CopyOf(source, id), &source]() -> Result<Row> {
    ASSIGN(Row inserted, rows.Insert(row));
    (void)events.Append(inserted.iid, inserted.id, "fork", "a copy of " + source.id);
    return inserted;
  };
  Result<Row> inserted = co_await runtime.blocking().Run(insert);
  if (!inserted) {
    Discard(held.entry);
    co_return Unexpected(std::move(inserted).error());
  }
  std::lock_guard guard(mutex);
  held.entry->row = *std::move(inserted);
  held.entry->exists = true;
  held.entry->reserved = true;
  co_return held;
}

async::Task<Result<void>> Registry::Impl::ClaimAll(Row source, ForkRequest request,
                                                   std::vector<Held>& claimed) {
  const std::string& base = request.id.empty() ? source.id : request.id;
  if (!request.id.empty()) {
    CO_ASSIGN(Held held, co_await Claim(request.id, source));
    claimed.push_back(std::move(held));
  }
  for (int number = 2; static_cast<int>(claimed.size()) < request.count; ++number) {
    if (number > kMostNumbers) {
      co_return Fail(Code::kResourceExhausted,
                     fmt::format("every name from {} to {} is taken", DerivedId(base, 2),
                                 DerivedId(base, kMostNumbers)));
    }
    std::string id = DerivedId(base, number);
    if (Exists(id)) continue;
    Result<Held> held = co_await Claim(id, source);
    if (held) {
      claimed.push_back(std::move(*held));
    } else if (ReasonOf(held.error()) != "SANDBOX_EXISTS") {
      co_return Unexpected(std::move(held).error());
    }
  }
  co_return Result<void>();
}

// What a copy is taken of: it exists, and nothing is begun with it meanwhile.
async::Task<Result<Registry::Impl::Source>> Registry::Impl::HoldSource(std::string id, bool up,
                                                                       Waited& waited) {
  Source source;
  for (int round = 0; round < 2; ++round) {
    EntryPtr entry = Lookup(id);
    if (!entry) co_return Unexpected(NoSuchSandbox(id));
    WantAwake(id);
    CO_ASSIGN(source.transfer, co_await AwaitTurn(entry->transfer));
    CO_ASSIGN(source.held, co_await Hold(id, false));
    if (source.held.entry != entry) {
      // The lock lies in what is about to go.
      source = {};
      co_return Fail(Code::kUnavailable, fmt::format("sandbox {} was made anew meanwhile", id),
                     "CONTAINER_UNAVAILABLE");
    }
    State state = State::kFailed;
    {
      std::lock_guard guard(mutex);
      source.row = source.held.entry->row;
      state = source.row.state;
    }
    bool settled = state == State::kRunning || state == State::kStopped ||
                   state == State::kPaused || state == State::kFailed;
    if (!settled) {
      co_return Fail(Code::kFailedPrecondition,
                     fmt::format("sandbox {} is {} and cannot be forked: {}", id, StateName(state),
                                 source.row.failure),
                     "CONTAINER_UNAVAILABLE");
    }
    bool whole = !source.row.recover && !LayerIsGone(source.row);
    if (whole && (!up || Living(source.held.entry))) co_return source;
    if (round > 0) break;
    // What is in snapshots only, or in memory that was kept, it gets by its start.
    source = {};
    Result<std::shared_ptr<Sandbox>> started;
    co_await StartFor(id, started, waited);
    if (!started) co_return Unexpected(std::move(started).error());
  }
  co_return Fail(Code::kFailedPrecondition, fmt::format("sandbox {} cannot be started", id),
                 "CONTAINER_UNAVAILABLE");
}

async::Task<> Registry::Impl::StartFor(std::string id, Result<std::shared_ptr<Sandbox>>& result,
                                       Waited& waited) {
  co_await AcquireInto(std::move(id), result, &waited);
}

async::Task<Result<void>> Registry::Impl::CopyFiles(const Source& source,
                                                    const std::vector<Row>& targets,
                                                    ForkFacts& facts) {
  std::stop_token deleted = DeletionOf(source.held.entry);
  auto copy = [this, &source, &targets, &deleted]() -> Result<ForkFacts> {
    AtWork working(at_work);
    std::stop_source stop;
    std::stop_callback daemon_ends(ending.get_token(), [&stop] { stop.request_stop(); });
    std::stop_callback when_deleted(deleted, [&stop] { stop.request_stop(); });
    return CopyLayers(launcher, {.source = source.row,
                                 .asleep = source.row.state == State::kPaused,
                                 .targets = targets,
                                 .stop = stop.get_token()});
  };
  CO_ASSIGN(facts, co_await transfers.Run(copy));
  co_return Result<void>();
}

async::Task<Result<void>> Registry::Impl::ForkSteps(std::string id, ForkRequest request,
                                                    std::vector<Held>& claimed, Forked& forked) {
  const bool memory = request.memory;
  CO_ASSIGN(Source source, co_await HoldSource(id, memory, forked.waited));
  CO_TRY(co_await ClaimAll(source.row, std::move(request), claimed));
  std::vector<Row> targets;
  targets.reserve(claimed.size());
  for (const Held& held : claimed) targets.push_back(held.entry->row);
  MemoryCopy copy;
  if (memory) {
    CO_ASSIGN(copy, co_await CopyWithMemory(source, targets, forked.facts));
  } else {
    CO_TRY(co_await CopyFiles(source, targets, forked.facts));
  }
  source = {};
  for (size_t i = 0; i < claimed.size(); ++i) {
    const EntryPtr& entry = claimed[i].entry;
    Stopwatch watch;
    Phases phases;
    phases.emplace_back("copy", forked.facts.copy_ms);
    Result<void> launched;
    if (memory) {
      launched = co_await LaunchCopy(entry, copy.checkpoints[i], id, copy, phases);
    } else {
      launched = co_await Launch(entry, true, phases);
    }
    if (!launched) {
      co_return Unexpected(
          std::move(launched).error().Wrap(fmt::format("start sandbox {}", entry->row.id)));
    }
    phases.emplace_back("total", forked.facts.copy_ms + watch.Lap());
    std::lock_guard guard(mutex);
    forked.made.push_back(
        {.info = InfoOf(*entry), .phases = std::move(phases), .recovered = {}, .waited = {}});
  }
  co_return Result<void>();
}

async::Task<> Registry::Impl::ForkInto(std::string id, ForkRequest request,
                                       Result<Forked>& result) {
  co_await async::DisableCancellation();
  std::vector<Held> claimed;
  Forked forked;
  Result<void> done = co_await ForkSteps(id, std::move(request), claimed, forked);
  if (done) {
    for (const Held& held : claimed) Reserve(held.entry, false);
    log::Info("sandbox {} was forked: {} copies of {} files{} in {:.0f} ms, {:.0f} ms of it frozen",
              id, claimed.size(), forked.facts.files, forked.facts.memory ? " and what runs" : "",
              forked.facts.copy_ms, forked.facts.freeze_ms);
    result = std::move(forked);
    co_return;
  }
  Error error = Late(std::move(done).error()).Wrap("fork sandbox " + id);
  // All of them or none.
  for (const Held& held : claimed) {
    Result<void> undone = co_await DestroyAll(held.entry);
    if (undone) continue;
    error.message += "; undoing it failed too: " + undone.error().message;
    log::Error("{}", error.message);
  }
  result = Unexpected(std::move(error));
}

async::Task<Result<Registry::Forked>> Registry::Fork(std::string id, ForkRequest request) {
  if (request.count < 1 || request.count > kMostForks) {
    co_return Fail(Code::kInvalidArgument,
                   fmt::format("\"count\" must be between 1 and {}", kMostForks),
                   "VALIDATION_FAILED");
  }
  if (!request.id.empty()) {
    CO_TRY(ValidateId(request.id));
  }
  if (request.memory) {
    CO_TRY(co_await impl_->CheckMemory());
  }
  async::Executor executor = co_await async::ThisExecutor();
  Result<Forked> result;
  co_await async::RunOn(executor, impl_->ForkInto(std::move(id), std::move(request), result));
  co_return result;
}

}  // namespace atl::sandbox
