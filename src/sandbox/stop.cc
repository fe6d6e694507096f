// SPDX-License-Identifier: Apache-2.0
// Stopping, and what is saved before.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/freezer.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

bool IsNoDirectory(const Error& error) {
  std::string_view reason = ReasonOf(error);
  return reason == "DIRECTORY_NOT_FOUND" || reason == "NOT_A_DIRECTORY";
}

}  // namespace

snapshot::AutoPolicy Registry::Impl::PolicyOf(const Row& row) const {
  if (row.snapshot_policy.empty()) return options.snapshots;
  auto policy = snapshot::ParseAutoPolicy(row.snapshot_policy, options.snapshots);
  return policy ? *policy : options.snapshots;
}

SleepPolicy Registry::Impl::SleepOf(const Row& row) const {
  if (row.sleep_policy.empty()) return options.sleep;
  auto policy = ParseSleepPolicy(row.sleep_policy, options.sleep);
  return policy ? *policy : options.sleep;
}

void Registry::Impl::Reserve(const EntryPtr& entry, bool reserved) {
  std::lock_guard guard(mutex);
  entry->reserved = reserved;
}

std::stop_token Registry::Impl::DeletionOf(const EntryPtr& entry) const {
  std::lock_guard guard(mutex);
  return entry->deleting.get_token();
}

bool Registry::Impl::IsBeingDeleted(const EntryPtr& entry) const {
  return DeletionOf(entry).stop_requested();
}

async::Task<Result<std::vector<std::string>>> Registry::Impl::Save(std::shared_ptr<Sandbox> sandbox,
                                                                   EntryPtr entry,
                                                                   repository::Trigger trigger,
                                                                   GivenUp given_up) {
  Row row;
  std::stop_source stop;
  std::stop_token deleted;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
    deleted = entry->deleting.get_token();
  }
  std::stop_callback when_deleted(deleted, [&stop] { stop.request_stop(); });
  std::stop_callback when_given_up(given_up.work, [&stop] { stop.request_stop(); });
  std::vector<std::string> ids;
  std::optional<Error> failure;
  for (const std::string& path : PolicyOf(row).paths) {
    SnapshotRequest request{.dir = path,
                            .exclude = snapshot::DisposablePaths(),
                            .trigger = trigger,
                            .skip_if_unchanged = true};
    GivenUp of_one{.work = stop.get_token(), .opening = given_up.opening};
    auto take = [this, &row, &request, &of_one] { return Take(row, request, of_one); };
    Result<SnapshotResult> taken = co_await transfers.Run(take);
    if (taken && !taken->unchanged) ids.push_back(taken->record.id().Hex());
    // What does not exist or is no directory holds nothing to save.
    if (taken || IsNoDirectory(taken.error())) continue;
    // Whoever waits for a store, or an agent, that does not answer does so once.
    bool silent =
        taken.error().code == Code::kUnavailable || taken.error().code == Code::kCancelled;
    if (!failure) failure = std::move(taken).error().Wrap("save " + path);
    if (silent) break;
  }
  (void)sandbox;
  // It goes on running: nothing is left unsaved.
  if (failure && given_up.work.stop_requested()) co_return Unexpected(std::move(*failure));
  bool unsaved = failure.has_value();
  {
    std::lock_guard guard(mutex);
    entry->save_failure = unsaved ? failure->message : std::string();
  }
  if (row.unsaved != unsaved) {
    auto write = [this, &row, unsaved] { return rows.SetUnsaved(row.iid, unsaved); };
    CO_TRY(co_await runtime.blocking().Run(write));
    std::lock_guard guard(mutex);
    entry->row.unsaved = unsaved;
  }
  if (row.unsaved != unsaved) {
    std::string what = unsaved ? "it is not saved: " + failure->message : "all of it is saved now";
    co_await Tell(entry, "save", std::move(what));
  }
  if (failure) co_return Unexpected(std::move(*failure));
  co_return ids;
}

async::Task<> Registry::Impl::Tell(EntryPtr entry, std::string kind, std::string detail) {
  auto append = [this, &entry, &kind, &detail] {
    return events.Append(entry->row.iid, entry->row.id, kind, detail);
  };
  Result<void> told = co_await runtime.blocking().Run(append);
  if (!told) log::Warning("{}", told.error().message);
}

bool Registry::Impl::IsUp(const EntryPtr& entry) const {
  std::lock_guard guard(mutex);
  State state = entry->row.state;
  return state == State::kRunning || state == State::kPaused || state == State::kStopping;
}

bool Registry::Impl::IsFailed(const EntryPtr& entry) const {
  std::lock_guard guard(mutex);
  return entry->row.state == State::kFailed;
}

async::Task<Result<void>> Registry::Impl::NoteUnsaved(EntryPtr entry) {
  {
    std::lock_guard guard(mutex);
    if (!PolicyOf(entry->row).on_stop || entry->row.unsaved) co_return Result<void>();
  }
  auto write = [this, &entry] { return rows.SetUnsaved(entry->row.iid, true); };
  CO_TRY(co_await runtime.blocking().Run(write));
  std::lock_guard guard(mutex);
  entry->row.unsaved = true;
  co_return Result<void>();
}

async::Task<Result<void>> Registry::Impl::ClearDead(EntryPtr entry, std::string why) {
  CO_TRY(co_await NoteUnsaved(entry));
  Result<void> ended = co_await StopContainer(entry, std::move(why));
  co_return ended;
}

void Registry::Impl::WantAwake(std::string_view id) {
  EntryPtr entry = Lookup(id);
  std::lock_guard guard(mutex);
  if (entry && entry->wanted) entry->wanted->request_stop();
}

std::stop_token Registry::Impl::AwaitWish(const EntryPtr& entry) {
  std::lock_guard guard(mutex);
  return entry->wanted.emplace().get_token();
}

bool Registry::Impl::EndWish(const EntryPtr& entry) {
  std::lock_guard guard(mutex);
  bool wanted = entry->wanted && entry->wanted->stop_requested();
  entry->wanted.reset();
  return wanted;
}

async::Task<bool> Registry::Impl::CallOffStop(EntryPtr entry) {
  Result<void> thawed = co_await Thaw(entry);
  if (!thawed) log::Warning("sandbox {}: {}", entry->row.id, thawed.error().message);
  co_return thawed.has_value();
}

async::Task<> Registry::Impl::StopInto(std::string id, StopHow how, Result<Stopped>& result) {
  co_await async::DisableCancellation();
  EntryPtr entry;
  async::Mutex::Lock transfer;
  Result<Held> held = Fail(Code::kInternal, "nothing is held");
  while (!entry) {
    entry = Lookup(id);
    if (!entry) {
      result =
          Fail(Code::kNotFound, fmt::format("there is no sandbox {}", id), "SANDBOX_NOT_FOUND");
      co_return;
    }
    // In this order everywhere: who transfers may have to start the sandbox.
    Result<async::Mutex::Lock> turn = co_await AwaitTurn(entry->transfer);
    if (!turn) {
      result = Unexpected(std::move(turn).error());
      co_return;
    }
    transfer = *std::move(turn);
    held = co_await Hold(id, false);
    if (!held) {
      result = Unexpected(std::move(held).error());
      co_return;
    }
    if (held->entry == entry) break;
    // Deleted and made again meanwhile. Both are given back, and the lock before what it lies in.
    held = Fail(Code::kInternal, "nothing is held");
    transfer.Unlock();
    entry.reset();
  }
  Stopped stopped;
  std::shared_ptr<Sandbox> sandbox = Living(entry);
  if (!sandbox) {
    // One whose PID 1 has died has still to be cleared away, and is saved later.
    if (IsUp(entry) || IsFailed(entry)) {
      Result<void> ended = co_await ClearDead(entry, "it had ended");
      if (!ended) {
        co_await NoteFailed(entry, ended.error().message);
        result = Unexpected(Late(std::move(ended).error()));
        co_return;
      }
    }
    stopped.memory_kept = launcher.HasMemory(entry->row.iid);
    stopped.save_failure = entry->row.unsaved ? "what it holds has not been saved yet" : "";
    result = std::move(stopped);
    co_return;
  }
  metrics::Measure measure(metrics::Get().stop_seconds);
  bool save = false;
  State before = State::kRunning;
  GivenUp given_up;
  {
    std::lock_guard guard(mutex);
    auto stops_after = SleepOf(entry->row).StopsAfter();
    auto idle = std::chrono::steady_clock::now() - entry->activity->idle_since();
    // Much may have happened since it was found idle.
    if (how.idle_only && (entry->activity->uses() > 0 || !stops_after || idle < *stops_after)) {
      result = Fail(Code::kFailedPrecondition, fmt::format("sandbox {} is in use", id),
                    "SANDBOX_IN_USE");
      co_return;
    }
    before = std::exchange(entry->row.state, State::kStopping);
    save = PolicyOf(entry->row).on_stop;
    if (save) given_up.opening = entry->wanted.emplace().get_token();
    if (how.idle_only) given_up.work = given_up.opening;
  }
  auto write = [this, &entry, &how] {
    return rows.SetState(entry->row.iid, State::kStopping, {}, how.why);
  };
  Result<void> written = co_await runtime.blocking().Run(write);
  if (!written) {
    // Nothing is begun that a daemon which starts anew would not know of.
    {
      std::lock_guard guard(mutex);
      entry->row.state = before;
      entry->wanted.reset();
    }
    result = Unexpected(std::move(written).error().Wrap("stop sandbox " + id));
    co_return;
  }
  if (save) {
    // Nothing is written between what is saved and the end.
    auto freeze = [this, &entry] { return FreezePrograms(launcher.CgroupOf(entry->row.iid)); };
    Result<void> frozen = co_await runtime.blocking().Run(freeze);
    if (!frozen) log::Info("sandbox {}: {}", id, frozen.error().message);
    auto saved = co_await Save(sandbox, entry, repository::Trigger::kStop, given_up);
    bool called_off = EndWish(entry) && how.idle_only;
    if (called_off) called_off = co_await CallOffStop(entry);
    if (called_off) {
      result = Fail(Code::kFailedPrecondition, fmt::format("sandbox {} is wanted again", id),
                    "SANDBOX_IN_USE");
      co_return;
    }
    if (saved) {
      stopped.snapshot_ids = std::move(*saved);
    } else {
      stopped.save_failure = saved.error().message;
      // It was called off, and could not go on.
      if (given_up.work.stop_requested()) {
        Result<void> noted = co_await NoteUnsaved(entry);
        if (!noted) log::Error("sandbox {}: {}", id, noted.error().message);
      }
      log::Error("sandbox {} stops unsaved, its files stay on this host: {}", id,
                 saved.error().message);
    }
  }
  if (how.keep_memory) {
    Result<void> kept = co_await KeepMemory(entry, sandbox);
    stopped.memory_kept = kept.has_value();
    if (kept) how.why += ", and what runs in it is kept";
    if (!kept) {
      stopped.memory_failure = kept.error().message;
      log::Warning("sandbox {} stops without its memory: {}", id, stopped.memory_failure);
      co_await Tell(entry, "memory", "what runs in it is not kept: " + stopped.memory_failure);
    }
  }
  sandbox.reset();
  Result<void> ended = co_await StopContainer(entry, how.why);
  measure.Succeeded(ended.has_value());
  if (ended) {
    result = std::move(stopped);
  } else {
    // Tried again by itself, and by whoever uses it next.
    co_await NoteFailed(entry, ended.error().message);
    result = Unexpected(Late(std::move(ended).error()).Wrap(fmt::format("stop sandbox {}", id)));
  }
}

}  // namespace atl::sandbox
