// SPDX-License-Identifier: Apache-2.0
// What a layer that is empty, because the sandbox is new here or its files are lost, gets back from
// snapshots.
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/registry_impl.h"
#include "snapshot/latest.h"

namespace atl::sandbox {
namespace {

// Another host may have saved the sandbox a moment ago: a layer is never begun by what was known
// before.
constexpr std::chrono::milliseconds kOnlyFresh{0};
// A look-up that is about to end does so before a delete; one whose store hangs keeps none waiting.
constexpr std::chrono::milliseconds kLookGrace{500};

int64_t Millis(const repository::Time& time) { return time.seconds * 1000 + time.nanos / 1000000; }

// What a look-up that nobody may be waiting for any more has found.
template <class Found>
struct Looking {
  async::Event done;
  std::mutex mutex;
  std::optional<Found> found;  // guarded by `mutex`
};

template <class Found, class Look>
async::Task<> LookInto(async::BlockingPool& pool, std::shared_ptr<Looking<Found>> into, Look look) {
  Found found = co_await pool.Run(std::move(look));
  {
    std::lock_guard guard(into->mutex);
    into->found = std::move(found);
  }
  into->done.Set();
}

}  // namespace

bool Registry::Impl::LayerIsGone(const Row& row) const {
  return !launcher.layers().Exists(row.iid);
}

async::Task<Result<bool>> Registry::Impl::PrepareLayer(EntryPtr entry) {
  Row row;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
  }
  auto look = [this, &row]() -> Result<bool> {
    // What is in a layer that was to be filled is no more than a part.
    if (row.recover) TRY(launcher.layers().Remove(row.iid));
    bool gone = LayerIsGone(row);
    // What ran in it belongs to the files that it had.
    if (gone) TRY(launcher.DropMemory(row.iid));
    return gone;
  };
  CO_ASSIGN(bool gone, co_await runtime.blocking().Run(look));
  Records records;
  if (gone) {
    CO_ASSIGN(records, co_await LookUp(entry, row));
  }
  bool recover = !records.empty();
  if (recover == row.recover) co_return recover;
  auto write = [this, &row, recover] { return rows.SetRecover(row.iid, recover); };
  CO_TRY(co_await runtime.blocking().Run(write));
  co_return recover;
}

async::Task<Result<Registry::Impl::Records>> Registry::Impl::LookUp(EntryPtr entry, Row row) {
  std::stop_token deleted = DeletionOf(entry);
  auto looking = std::make_shared<Looking<Result<Records>>>();
  auto look = [this, row] { return Recoverable(row); };
  async::Spawn(runtime.NextShard(), LookInto(lookups, looking, std::move(look)),
               "look for snapshots");
  async::Event gone;
  {
    std::stop_callback when_deleted(deleted, [&gone] { gone.Set(); });
    std::stop_callback when_leaving(leaving.get_token(), [&gone] { gone.Set(); });
    co_await async::Race(looking->done.Wait(), gone.Wait());
  }
  if (gone.is_set()) {
    co_await async::WithTimeout(kLookGrace, looking->done.Wait());
  }
  std::lock_guard guard(looking->mutex);
  if (looking->found) co_return *std::move(looking->found);
  if (retired) co_return Replaced();
  co_return Fail(Code::kFailedPrecondition,
                 fmt::format("sandbox {} was deleted while its snapshots were looked for", row.id),
                 "CONTAINER_UNAVAILABLE");
}

async::Task<> Registry::Impl::DropLayer(EntryPtr entry) {
  auto remove = [this, &entry] { return launcher.layers().Remove(entry->row.iid); };
  Result<void> removed = co_await runtime.blocking().Run(remove);
  if (!removed) log::Error("sandbox {}: {}", entry->row.id, removed.error().message);
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

async::Task<Result<void>> Registry::Impl::Recover(EntryPtr entry, std::vector<Recovered>& recovered,
                                                  std::optional<Records> known) {
  Row row;
  std::stop_token deleted;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
    deleted = entry->deleting.get_token();
  }
  auto recover = [this, &row, &recovered, &deleted, &known]() -> Result<void> {
    Records records;
    if (known) {
      records = *std::move(known);
    } else {
      ASSIGN(records, Recoverable(row));
    }
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
