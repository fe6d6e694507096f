// SPDX-License-Identifier: Apache-2.0
// Snapshots: a directory's tar stream between the agent and the store.
#include <fmt/format.h>

#include "sandbox/id.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxName = 256;

SnapshotResult ToResult(const snapshot::Meta& meta, Stopwatch& watch) {
  return SnapshotResult{.snapshot_id = meta.snapshot_id,
                        .dir = meta.dir,
                        .bytes = meta.bytes,
                        .stored = meta.stored,
                        .files = meta.files,
                        .duration_ms = watch.Lap()};
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

async::Task<Result<Registry::Impl::Transfer>> Registry::Impl::BeginTransfer(Registry& registry,
                                                                            std::string id) {
  // Twice: the first starts a sandbox that is stopped, the second sees what happened while this one
  // waited for its turn.
  CO_TRY(co_await registry.Acquire(id));
  EntryPtr entry = Lookup(id);
  if (!entry) co_return Fail(Code::kNotFound, "the sandbox is gone", "SANDBOX_NOT_FOUND");
  async::Mutex::Lock lock = co_await entry->transfer.Acquire();
  CO_ASSIGN(std::shared_ptr<Sandbox> sandbox, co_await registry.Acquire(id));
  co_return Transfer{
      .entry = std::move(entry), .lock = std::move(lock), .sandbox = std::move(sandbox)};
}

async::Task<Result<SnapshotResult>> Registry::Snapshot(std::string id, std::string dir,
                                                       std::string name) {
  Stopwatch watch;
  CO_ASSIGN(std::string normal, NormalSnapshotDir(dir));
  if (name.size() > kMaxName) {
    co_return Fail(Code::kInvalidArgument, "\"name\" is longer than 256 bytes",
                   "INVALID_BACKUP_CONFIG");
  }
  CO_ASSIGN(Impl::Transfer transfer, co_await impl_->BeginTransfer(*this, id));
  CO_ASSIGN(std::unique_ptr<snapshot::Writer> writer, co_await impl_->snapshots.Create());
  AgentClient::TarSink sink = [&writer](std::string_view data) { return writer->Write(data); };
  AgentClient& agent = transfer.sandbox->agent();
  CO_ASSIGN(TarTotals totals, co_await agent.TarOut(normal, std::move(sink)));
  snapshot::Meta meta{.sandbox = std::move(id),
                      .dir = std::move(normal),
                      .name = std::move(name),
                      .files = totals.files};
  CO_ASSIGN(snapshot::Meta committed, co_await writer->Commit(std::move(meta)));
  co_return ToResult(committed, watch);
}

async::Task<Result<SnapshotResult>> Registry::Restore(std::string id, std::string snapshot_id) {
  Stopwatch watch;
  CO_ASSIGN(Impl::Transfer transfer, co_await impl_->BeginTransfer(*this, id));
  CO_ASSIGN(std::unique_ptr<snapshot::Reader> reader, co_await impl_->snapshots.Open(snapshot_id));
  if (reader->meta().sandbox != id) {
    co_return Fail(Code::kNotFound, fmt::format("sandbox {} has no snapshot {}", id, snapshot_id),
                   "BACKUP_NOT_FOUND");
  }
  Counted counted(impl_->mutex, transfer.entry->restoring);
  // Cancelled or failed on the way, the connection ends before the archive does, and the agent
  // leaves the directory as it was.
  AgentClient::TarSource source = [&reader] { return reader->Next(); };
  AgentClient& agent = transfer.sandbox->agent();
  CO_TRY(co_await agent.TarIn(reader->meta().dir, std::move(source)));
  co_return ToResult(reader->meta(), watch);
}

async::Task<Result<std::vector<snapshot::Meta>>> Registry::Snapshots(std::string id) {
  CO_TRY(ValidateId(id));
  Result<std::vector<snapshot::Meta>> metas = co_await impl_->snapshots.List(std::move(id));
  co_return metas;
}

}  // namespace atl::sandbox
