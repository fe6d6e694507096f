// SPDX-License-Identifier: Apache-2.0
// Stopping, what is saved before, and what an empty layer gets back at a start.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/freezer.h"
#include "sandbox/registry_impl.h"
#include "snapshot/latest.h"

namespace atl::sandbox {
namespace {

// Another host may have saved the sandbox a moment ago: a layer is never begun by what was known
// before.
constexpr std::chrono::milliseconds kOnlyFresh{0};

bool IsNoDirectory(const Error& error) {
  std::string_view reason = ReasonOf(error);
  return reason == "DIRECTORY_NOT_FOUND" || reason == "NOT_A_DIRECTORY";
}

int64_t Millis(const repository::Time& time) { return time.seconds * 1000 + time.nanos / 1000000; }

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

bool Registry::Impl::LayerIsGone(const Row& row) const {
  return !launcher.layers().Exists(row.iid);
}

Result<bool> Registry::Impl::PrepareLayer(const Row& row) {
  // What is in a layer that was to be filled is no more than a part.
  if (row.recover) TRY(launcher.layers().Remove(row.iid));
  Records records;
  if (LayerIsGone(row)) {
    ASSIGN(records, Recoverable(row));
  }
  bool recover = !records.empty();
  if (recover != row.recover) TRY(rows.SetRecover(row.iid, recover));
  return recover;
}

async::Task<> Registry::Impl::DropLayer(EntryPtr entry) {
  auto remove = [this, &entry] { return launcher.layers().Remove(entry->row.iid); };
  Result<void> removed = co_await runtime.blocking().Run(remove);
  if (!removed) log::Error("sandbox {}: {}", entry->row.id, removed.error().message);
}

async::Task<Result<std::vector<std::string>>> Registry::Impl::Save(std::shared_ptr<Sandbox> sandbox,
                                                                   EntryPtr entry,
                                                                   repository::Trigger trigger,
                                                                   std::stop_token given_up) {
  Row row;
  std::stop_source stop;
  std::stop_token deleted;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
    deleted = entry->deleting.get_token();
  }
  std::stop_callback when_deleted(deleted, [&stop] { stop.request_stop(); });
  std::stop_callback when_given_up(given_up, [&stop] { stop.request_stop(); });
  std::vector<std::string> ids;
  std::optional<Error> failure;
  for (const std::string& path : PolicyOf(row).paths) {
    SnapshotRequest request{.dir = path,
                            .exclude = snapshot::DisposablePaths(),
                            .trigger = trigger,
                            .skip_if_unchanged = true};
    auto take = [this, &row, &request, &stop] { return Take(row, request, stop.get_token()); };
    Result<SnapshotResult> taken = co_await transfers.Run(take);
    if (taken && !taken->unchanged) ids.push_back(taken->record.id().Hex());
    // What does not exist or is no directory holds nothing to save.
    if (taken || IsNoDirectory(taken.error())) continue;
    if (!failure) failure = std::move(taken).error().Wrap("save " + path);
  }
  (void)sandbox;
  // It goes on running: nothing is left unsaved.
  if (failure && given_up.stop_requested()) co_return Unexpected(std::move(*failure));
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
  if (failure) co_return Unexpected(std::move(*failure));
  co_return ids;
}

bool Registry::Impl::IsUp(const EntryPtr& entry) const {
  std::lock_guard guard(mutex);
  State state = entry->row.state;
  return state == State::kRunning || state == State::kPaused || state == State::kStopping;
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

async::Task<bool> Registry::Impl::CallOffStop(EntryPtr entry) {
  bool wanted = false;
  {
    std::lock_guard guard(mutex);
    if (entry->wanted) wanted = entry->wanted->stop_requested();
    entry->wanted.reset();
  }
  if (!wanted) co_return false;
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
    if (retired) {
      result = Replaced();
      co_return;
    }
    // In this order everywhere: who transfers may have to start the sandbox.
    transfer = co_await entry->transfer.Acquire();
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
    if (IsUp(entry)) {
      Result<void> ended = co_await ClearDead(entry, "it had ended");
      if (!ended) {
        result = Unexpected(std::move(ended).error());
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
  std::stop_token given_up;
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
    entry->row.state = State::kStopping;
    save = PolicyOf(entry->row).on_stop;
    if (how.idle_only && save) given_up = entry->wanted.emplace().get_token();
  }
  auto write = [this, &entry, &how] {
    return rows.SetState(entry->row.iid, State::kStopping, {}, how.why);
  };
  Result<void> written = co_await runtime.blocking().Run(write);
  if (!written) log::Error("sandbox {}: {}", id, written.error().message);
  if (save) {
    // Nothing is written between what is saved and the end.
    auto freeze = [this, &entry] { return FreezePrograms(launcher.CgroupOf(entry->row.iid)); };
    Result<void> frozen = co_await runtime.blocking().Run(freeze);
    if (!frozen) log::Info("sandbox {}: {}", id, frozen.error().message);
    auto saved = co_await Save(sandbox, entry, repository::Trigger::kStop, given_up);
    bool called_off = co_await CallOffStop(entry);
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
      if (given_up.stop_requested()) {
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
    }
  }
  sandbox.reset();
  Result<void> ended = co_await StopContainer(entry, how.why);
  measure.Succeeded(ended.has_value());
  if (ended) {
    result = std::move(stopped);
  } else {
    // Whoever uses it next tries again.
    auto note = [this, &entry, &ended] {
      return rows.SetState(entry->row.iid, State::kFailed, ended.error().message);
    };
    (void)co_await runtime.blocking().Run(note);
    SetState(entry, State::kFailed, ended.error().message);
    result = Unexpected(std::move(ended).error().Wrap(fmt::format("stop sandbox {}", id)));
  }
}

Result<Registry::Impl::Records> Registry::Impl::Recoverable(const Row& row) {
  snapshot::AutoPolicy policy = PolicyOf(row);
  Records found;
  if (!policy.on_start) return found;
  auto repository = vault.GetFresh(kOnlyFresh);
  if (!repository) {
    // What was known a while ago is better than nothing; nothing is not good enough, for an empty
    // sandbox would look as if its files were lost.
    snapshot::Vault::Repo opened = vault.Opened();
    if (!opened) {
      return Unexpected(
          std::move(repository)
              .error()
              .Wrap(
                  R"(whether it has snapshots to begin with is not known ("snapshots": {"onStart": false} )"
                  "begins without them)"));
    }
    log::Warning("snapshots of {}: {}", row.id, repository.error().message);
    repository = std::move(opened);
  }
  Records all = (*repository)->Snapshots();
  for (const std::string& path : policy.paths) {
    std::vector<const repository::SnapshotRecord*> of_path;
    for (const repository::SnapshotRecord& record : all) {
      repository::Tags tags = record.decoded_tags();
      if (tags.sandbox == row.id && tags.dir == path) of_path.push_back(&record);
    }
    if (!of_path.empty()) found.push_back(*snapshot::Latest(of_path));
  }
  // Most new sandboxes have none, and need not ask the database.
  if (found.empty()) return found;
  ASSIGN(int64_t deleted_at_ms, rows.DeletedAt(row.id));
  // A clock that was set back tells that it was deleted after it was created anew. Then what has
  // been saved since is its own, and what is yet to come by the clock the deleted one's.
  int64_t since_ms = std::min(deleted_at_ms, row.created_at_ms);
  int64_t now_ms = NowMs();
  std::erase_if(found, [&](const auto& record) {
    int64_t at_ms = Millis(record.time);
    return at_ms <= since_ms || (at_ms <= deleted_at_ms && at_ms > now_ms);
  });
  return found;
}

async::Task<Result<void>> Registry::Impl::Recover(EntryPtr entry,
                                                  std::vector<Recovered>& recovered) {
  Row row;
  std::stop_token deleted;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
    deleted = entry->deleting.get_token();
  }
  auto recover = [this, &row, &recovered, &deleted]() -> Result<void> {
    ASSIGN(Records records, Recoverable(row));
    for (const repository::SnapshotRecord& record : records) {
      RestoreRequest request{.snapshot_id = record.id().Hex()};
      auto put = Put(row, record, request, deleted);
      if (!put) {
        return Unexpected(std::move(put).error().Wrap(fmt::format(
            "restore {} from snapshot {}", record.decoded_tags().dir, record.id().Short())));
      }
      recovered.push_back({.dir = put->dir, .snapshot_id = record.id().Hex(), .files = put->files});
      log::Info("sandbox {}: {} files of {} are back from snapshot {}", row.id, put->files,
                put->dir, record.id().Short());
    }
    return rows.SetRecover(row.iid, false);
  };
  CO_TRY(co_await transfers.Run(recover));
  std::lock_guard guard(mutex);
  entry->row.recover = false;
  co_return Result<void>();
}

}  // namespace atl::sandbox
