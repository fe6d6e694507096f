// SPDX-License-Identifier: Apache-2.0
// Snapshots and restores of a sandbox that runs.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/agent_socket.h"
#include "sandbox/freezer.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

// In the middle of a transfer an agent may have more to do than to answer.
constexpr int kSilence = 4;
constexpr size_t kMaxName = 256;
constexpr size_t kMaxLabels = 32;
constexpr size_t kMaxReport = 16U << 10U;
constexpr size_t kMaxKeptPath = 4096;
// Longer than this no program waits for a snapshot: it goes on, and the snapshot is one of a busy
// directory.
constexpr std::chrono::milliseconds kFreezeLimit{30'000};

Unexpected BadRequest(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "INVALID_BACKUP_CONFIG");
}

// What the tags of a snapshot cannot hold, or would take for their own.
Result<void> ValidateLabels(const std::vector<std::string>& labels) {
  if (labels.size() > kMaxLabels) return BadRequest("more than 32 tags");
  for (const std::string& label : labels) {
    std::vector<std::string> one{label};
    bool plain = !label.empty() && label.size() <= kMaxName && !label.contains(',') &&
                 std::ranges::none_of(label, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (!plain || repository::DecodeTags(one).labels != one) {
      return BadRequest(fmt::format("\"{:.60}\" cannot be a tag", label));
    }
  }
  return {};
}

Result<void> Normalise(SnapshotRequest& request) {
  ASSIGN(request.dir, snapshot::NormalDir(request.dir));
  TRY(ValidateTags({.name = request.name, .labels = request.labels}));
  for (std::string& path : request.exclude) {
    ASSIGN(path, snapshot::NormalDir(path));
  }
  return {};
}

// What the snapshot left out is not missing in it: where that would be in the target. Patterns,
// which restic's own snapshots may have, mean nothing here.
std::vector<std::string> LeftOut(const repository::SnapshotRecord& record,
                                 const RestoreRequest& request) {
  repository::Tags tags = record.decoded_tags();
  std::vector<std::string> paths;
  if (tags.sandbox.empty() || request.from.starts_with('/')) return paths;
  std::string source = tags.dir;
  if (!request.from.empty()) source += "/" + request.from;
  const std::string& target = request.dir.empty() ? source : request.dir;
  for (const std::string& path : record.excludes) {
    if (!path.starts_with(source + "/")) continue;
    auto mapped = snapshot::NormalDir(target + path.substr(source.size()));
    if (mapped && mapped->size() < kMaxKeptPath) paths.push_back(std::move(*mapped));
  }
  return paths;
}

// A host that cannot stop programs still saves and restores, as well as that goes.
Result<void> FreezeIfPossible(Freezer& freezer, bool frozen, bool must) {
  Result<void> done = freezer.Set(frozen);
  if (done || must || !frozen) return done;
  log::Warning("{}; going on beside running programs", done.error().message);
  freezer.GiveUp();
  return {};
}

// Counts a restore as long as it lives, whichever way it ends.
class Counted {
 public:
  Counted(std::mutex& mutex, int& count) : mutex_(mutex), count_(count) { Add(1); }
  ~Counted() { Add(-1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  void Add(int by) {
    std::lock_guard guard(mutex_);
    count_ += by;
  }
  std::mutex& mutex_;
  int& count_;
};

}  // namespace

Result<void> ValidateTags(const repository::Tags& tags) {
  bool control =
      std::ranges::any_of(tags.name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control || tags.name.size() > kMaxName) {
    return BadRequest("\"name\" must be at most 256 bytes without control characters");
  }
  return ValidateLabels(tags.labels);
}

async::Task<Result<Registry::Impl::Transfer>> Registry::Impl::BeginTransfer(Registry& registry,
                                                                            std::string id,
                                                                            Waited* waited) {
  // Twice: the first starts a sandbox that is stopped, the second sees what happened while this one
  // waited for its turn.
  CO_TRY(co_await registry.Acquire(id, waited));
  EntryPtr entry = Lookup(id);
  if (!entry) co_return Fail(Code::kNotFound, "the sandbox is gone", "SANDBOX_NOT_FOUND");
  CO_ASSIGN(async::Mutex::Lock lock, co_await AwaitTurn(entry->transfer));
  CO_ASSIGN(std::shared_ptr<Sandbox> sandbox, co_await registry.Acquire(id, waited));
  if (Lookup(id) != entry) {
    co_return Fail(Code::kUnavailable, fmt::format("sandbox {} was made anew meanwhile", id),
                   "CONTAINER_UNAVAILABLE");
  }
  co_return Transfer{
      .entry = std::move(entry), .lock = std::move(lock), .sandbox = std::move(sandbox)};
}

Result<SnapshotResult> Registry::Impl::Take(const Row& row, const SnapshotRequest& request,
                                            GivenUp given_up) {
  AtWork working(at_work);
  metrics::Measure measure(metrics::Get().snapshot_seconds);
  // Who ends the daemon, or deletes the sandbox, does not wait for this.
  std::stop_source stop;
  std::stop_callback daemon_ends(ending.get_token(), [&stop] { stop.request_stop(); });
  std::stop_callback deleted(given_up.work, [&stop] { stop.request_stop(); });
  std::stop_source opening;
  std::stop_callback all_given_up(stop.get_token(), [&opening] { opening.request_stop(); });
  std::stop_callback not_waited_for(given_up.opening, [&opening] { opening.request_stop(); });
  std::stop_callback leaves(leaving.get_token(), [&opening] { opening.request_stop(); });
  ASSIGN(snapshot::Vault::Repo repository, vault.Get(opening.get_token()));
  std::string socket = launcher.RunDir(row.iid) + "/agent.sock";
  snapshot::AgentTree tree([socket] { return ConnectAgent(socket); },
                           kSilence * options.agent_deadline);
  Freezer freezer(launcher.CgroupOf(row.iid), kFreezeLimit);
  bool freeze = request.freeze.value_or(request.trigger != repository::Trigger::kManual);
  auto ttl = request.ttl.value_or(options.retention.ttl);

  snapshot::BackupOptions backup;
  backup.dir = request.dir;
  backup.tags = {.sandbox = row.id,
                 .dir = request.dir,
                 .name = request.name,
                 .trigger = request.trigger,
                 .frozen = freeze,
                 .labels = request.labels};
  if (ttl) backup.tags.expires_at = NowSeconds() + ttl->count();
  backup.exclude = request.exclude;
  if (freeze && row.state == State::kStopping) {
    // It stands still already, where the host can do that, and until it has ended.
    backup.freeze = [](bool) { return Result<void>(); };
    backup.stayed_frozen = [this, &row] { return launcher.CgroupOf(row.iid).IsFrozen(); };
  } else if (freeze) {
    bool must = request.freeze.has_value();
    backup.freeze = [&freezer, must](bool frozen) {
      return FreezeIfPossible(freezer, frozen, must);
    };
    backup.stayed_frozen = [&freezer] { return !freezer.cut_short(); };
  }
  backup.skip_if_unchanged = request.skip_if_unchanged;
  backup.on_progress = request.on_progress;
  backup.stop = stop.get_token();
  backup.known = &known_files;
  Result<SnapshotResult> taken = snapshot::Backup(*repository, tree, backup);
  measure.Succeeded(taken.has_value());
  // A look that found nothing new is no snapshot.
  if (taken && taken->unchanged) measure.Drop();
  if (!taken) return Unexpected(Late(std::move(taken).error()));
  if (!taken->unchanged) {
    metrics::Get().snapshot_added_bytes.Add(taken->bytes_added);
    metrics::Get().snapshot_content_bytes.Add(taken->bytes_total);
  }
  return taken;
}

async::Task<Result<SnapshotResult>> Registry::Snapshot(std::string id, SnapshotRequest request,
                                                       Waited* waited) {
  CO_TRY(Normalise(request));
  CO_ASSIGN(Impl::Transfer transfer, co_await impl_->BeginTransfer(*this, std::move(id), waited));
  Row row;
  {
    std::lock_guard guard(impl_->mutex);
    row = transfer.entry->row;
  }
  auto take = [this, &row, &request] { return impl_->Take(row, request); };
  Result<SnapshotResult> result = co_await impl_->transfers.Run(take);
  // It may have been given up for the newer daemon, which takes it.
  if (!result && impl_->retired) co_return Replaced();
  co_return result;
}

Result<repository::SnapshotRecord> Registry::Impl::FindFor(const std::string& id,
                                                           const RestoreRequest& request) {
  AtWork working(at_work);
  ASSIGN(snapshot::Vault::Repo repository, vault.Get(ending.get_token()));
  auto found = repository->FindSnapshot(request.snapshot_id);
  if (!found && found.error().code == Code::kNotFound) {
    // Another daemon, or restic, may have made it.
    TRY(repository->Refresh());
    found = repository->FindSnapshot(request.snapshot_id);
  }
  if (!found) return found;
  repository::Tags tags = found->decoded_tags();
  // To one sandbox the snapshots of another do not exist.
  if (!request.of_any_sandbox && tags.sandbox != id) {
    return Fail(Code::kNotFound,
                fmt::format("sandbox {} has no snapshot {:.80}", id, request.snapshot_id),
                "BACKUP_NOT_FOUND");
  }
  if (!tags.expires_at || *tags.expires_at > NowSeconds()) return found;
  auto exists = [this](std::string_view sandbox) { return Lookup(sandbox) != nullptr; };
  Records gone =
      snapshot::Forgettable(repository->Snapshots(), options.retention.keep, NowSeconds(), exists);
  auto same = [&](const repository::SnapshotRecord& record) { return record.file == found->file; };
  if (std::ranges::none_of(gone, same)) return found;
  return Fail(Code::kGone, fmt::format("snapshot {} has expired", found->id().Short()),
              "BACKUP_EXPIRED");
}

Result<snapshot::RestoreResult> Registry::Impl::Put(const Row& row,
                                                    const repository::SnapshotRecord& record,
                                                    const RestoreRequest& request,
                                                    std::stop_token cancelled) {
  metrics::Measure measure(metrics::Get().restore_seconds);
  std::stop_source stop;
  std::stop_callback daemon_ends(ending.get_token(), [&stop] { stop.request_stop(); });
  std::stop_callback deleted(cancelled, [&stop] { stop.request_stop(); });
  ASSIGN(snapshot::Vault::Repo repository, vault.Get(stop.get_token()));
  std::string socket = launcher.RunDir(row.iid) + "/agent.sock";
  snapshot::AgentTree tree([socket] { return ConnectAgent(socket); },
                           kSilence * options.agent_deadline);
  Freezer freezer(launcher.CgroupOf(row.iid), kFreezeLimit);
  snapshot::RestoreOptions restore;
  restore.from_dir = request.from;
  restore.to_dir = request.dir;
  restore.mode = request.merge ? snapshot::RestoreOptions::Mode::kMerge
                               : snapshot::RestoreOptions::Mode::kReplace;
  restore.keep = LeftOut(record, request);
  restore.freeze = [&freezer](bool frozen) { return FreezeIfPossible(freezer, frozen, false); };
  restore.on_progress = request.on_progress;
  restore.stop = stop.get_token();
  restore.known = known_files.Get(snapshot::KnownOwner(*repository, row.id),
                                  request.dir.empty() ? record.decoded_tags().dir : request.dir);
  snapshot::RestoreResult partial;
  restore.partial = &partial;
  auto restored = snapshot::Restore(*repository, record, tree, restore);
  measure.Succeeded(restored.has_value());
  if (restored) return restored;
  if (partial.failures.empty()) return Unexpected(Late(std::move(restored).error()));
  // Which files are not there is what the caller has to know.
  Error error = Late(std::move(restored).error());
  error.message += "; not restored:";
  for (const auto& failure : partial.failures) {
    if (error.message.size() > kMaxReport) break;
    error.message += fmt::format(" {} ({});", failure.path, failure.message);
  }
  return Unexpected(std::move(error));
}

// Only in the database: it goes on being used meanwhile. What a daemon that dies leaves of a
// restore is settled by the agent, so the next one finds it running.
async::Task<Result<void>> Registry::Impl::NoteRestoring(Row row, bool begins) {
  auto write = [this, &row, begins]() -> Result<void> {
    // It may have been deleted, or stopped, meanwhile.
    if (!begins) return rows.EndRestoring(row.iid);
    return rows.BeginRestoring(row.iid);
  };
  Result<void> written = co_await runtime.blocking().Run(write);
  co_return written;
}

// Once it is noted it is also noted that it has ended, whether anybody waits for that or not.
async::Task<> Registry::Impl::RestoreInto(Transfer transfer, Row row,
                                          repository::SnapshotRecord record, RestoreRequest request,
                                          Result<RestoreOutcome>& outcome) {
  co_await async::DisableCancellation();
  Counted counted(mutex, transfer.entry->restoring);
  std::string dir = request.dir;
  if (dir.empty()) {
    bool absolute = request.from.starts_with('/');
    dir = absolute ? request.from : record.decoded_tags().dir + "/" + request.from;
  }
  if (dir.ends_with('/')) dir.pop_back();
  Result<void> noted = co_await NoteRestoring(row, true);
  if (!noted) {
    outcome = Unexpected(std::move(noted).error());
    co_return;
  }
  if (around_restore) co_await around_restore(row.id, dir, true);
  auto put = [this, &row, &record, &request] { return Put(row, record, request); };
  Result<snapshot::RestoreResult> result = co_await transfers.Run(put);
  if (around_restore) co_await around_restore(row.id, dir, false);
  noted = co_await NoteRestoring(row, false);
  if (!noted) log::Warning("sandbox {}: {}", row.id, noted.error().message);
  if (result) {
    outcome = RestoreOutcome{.snapshot_id = record.id().Hex(), .result = std::move(*result)};
  } else {
    outcome = Unexpected(std::move(result).error());
  }
}

async::Task<Result<RestoreOutcome>> Registry::Restore(std::string id, RestoreRequest request,
                                                      Waited* waited) {
  if (!request.dir.empty()) {
    CO_ASSIGN(request.dir, snapshot::NormalDir(request.dir));
  }
  CO_ASSIGN(Impl::Transfer transfer, co_await impl_->BeginTransfer(*this, id, waited));
  Row row;
  {
    std::lock_guard guard(impl_->mutex);
    row = transfer.entry->row;
  }
  auto find = [this, &id, &request] { return impl_->FindFor(id, request); };
  Result<repository::SnapshotRecord> found = co_await impl_->transfers.Run(find);
  if (!found && impl_->retired) co_return Replaced();
  CO_ASSIGN(repository::SnapshotRecord record, std::move(found));
  async::Executor executor = co_await async::ThisExecutor();
  Result<RestoreOutcome> outcome;
  co_await async::RunOn(executor,
                        impl_->RestoreInto(std::move(transfer), std::move(row), std::move(record),
                                           std::move(request), outcome));
  // Doing it again leads to the same, however far it has come.
  if (!outcome && impl_->retired) co_return Replaced();
  co_return outcome;
}

}  // namespace atl::sandbox
