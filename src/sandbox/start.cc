// SPDX-License-Identifier: Apache-2.0
// Starting what was stopped: with the files that it has, or those of its snapshots, and with what
// ran in it where that was kept.
#include <fmt/format.h>

#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/pool.h"
#include "sandbox/registry_impl.h"
#include "sandbox/services.h"
#include "sys/fd.h"

namespace atl::sandbox {

Result<std::string> Registry::Impl::MemoryKey(const Row& row) const {
  PoolIdentity identity{
      .image = row.image, .images_dir = options.images_dir, .binaries = {options.agent_binary}};
  if (!options.opencode_binary.empty()) identity.binaries.push_back(options.opencode_binary);
  return PoolKey(identity);
}

async::Task<Result<void>> Registry::Impl::KeepMemory(EntryPtr entry,
                                                     std::shared_ptr<Sandbox> sandbox) {
  Row row;
  {
    std::lock_guard guard(mutex);
    row = entry->row;
  }
  auto thaw = [this, &row] { return launcher.CgroupOf(row.iid).Freeze(false); };
  CO_TRY(co_await runtime.blocking().Run(thaw));
  CO_TRY(co_await sandbox->agent().Park(options.agent_deadline));
  // What is connected to anything outside would have to be there again.
  sandbox->network_.reset();
  auto keep = [this, &row, &sandbox]() -> Result<void> {
    // A file system that is served from outside cannot be kept with what runs inside.
    TRY(RemoveMounts(row, *sandbox));
    ASSIGN(std::string key, MemoryKey(row));
    return launcher.KeepMemory({.iid = row.iid,
                                .id_base = row.id_base(),
                                .key = std::move(key),
                                .memory_bytes = row.limits.memory_bytes});
  };
  Result<void> kept = co_await transfers.Run(keep);
  co_return kept;
}

async::Task<Result<void>> Registry::Impl::LaunchFromMemory(EntryPtr entry, Phases& phases) {
  Row row = entry->row;
  auto take = [this, &row]() -> Result<std::string> {
    if (!launcher.HasMemory(row.iid)) return std::string();
    ASSIGN(std::string key, MemoryKey(row));
    return launcher.TakeMemory(row.iid, key);
  };
  Result<std::string> memory = co_await runtime.blocking().Run(take);
  if (!memory) {
    log::Warning("sandbox {}: it starts without what ran in it: {}", row.id,
                 memory.error().message);
    co_await Tell(entry, "memory", "what ran in it is lost: " + memory.error().message);
  }
  Result<void> launched = Fail(Code::kNotFound, "nothing was kept");
  if (memory && !memory->empty()) {
    launched = co_await Launch(entry, false, phases, *memory);
    if (!launched) {
      log::Warning("sandbox {}: it starts without what ran in it: {}", row.id,
                   launched.error().message);
      co_await Tell(entry, "memory", "what ran in it is lost: " + launched.error().message);
      CO_TRY(co_await StopContainer(entry, "what ran in it could not go on"));
      auto write = [this, &row] { return rows.SetState(row.iid, State::kRunning); };
      CO_TRY(co_await runtime.blocking().Run(write));
    }
  }
  if (!launched) launched = co_await Launch(entry, false, phases);
  auto drop = [this, &row] { return launcher.DropMemory(row.iid); };
  Result<void> dropped = co_await runtime.blocking().Run(drop);
  if (!dropped) log::Error("sandbox {}: {}", row.id, dropped.error().message);
  co_return launched;
}

async::Task<Result<void>> Registry::Impl::StartAgain(EntryPtr entry, Phases& phases,
                                                     std::vector<Recovered>* recovered,
                                                     bool with_services) {
  metrics::Measure measure(metrics::Get().start_seconds);
  Stopwatch watch;
  bool at_rest = false;
  {
    std::lock_guard guard(mutex);
    at_rest = entry->row.state == State::kStopped && !entry->sandbox;
  }
  // One that has died, or could not be stopped.
  if (!at_rest) {
    CO_TRY(co_await StopContainer(entry, "it had ended"));
  }
  phases.emplace_back("clean", watch.Lap());
  CO_ASSIGN(bool recover, co_await PrepareLayer(entry));
  {
    std::lock_guard guard(mutex);
    entry->row.recover = recover;
    entry->reserved = recover;
  }
  // Written first: a new daemon that finds no container will start it again.
  auto write = [this, &entry] { return rows.SetState(entry->row.iid, State::kRunning); };
  CO_TRY(co_await runtime.blocking().Run(write));
  phases.emplace_back("row", watch.Lap());
  Result<void> launched;
  if (recover) {
    launched = co_await Launch(entry, false, phases);
  } else {
    launched = co_await LaunchFromMemory(entry, phases);
  }
  if (launched && recover) {
    std::vector<Recovered> found;
    launched = co_await Recover(entry, found);
    phases.emplace_back("recover", watch.Lap());
    if (recovered != nullptr) *recovered = std::move(found);
  }
  if (launched && with_services) {
    co_await StartServices(services, entry->sandbox);
    phases.emplace_back("services", watch.Lap());
  }
  Reserve(entry, false);
  measure.Succeeded(launched.has_value());
  if (launched) co_return launched;
  Error error =
      Late(std::move(launched).error()).Wrap(fmt::format("start sandbox {}", entry->row.id));
  Result<void> stopped = co_await StopContainer(entry, error.message);
  if (!stopped) {
    log::Error("sandbox {}: {}", entry->row.id, stopped.error().message);
    co_await NoteFailed(entry, stopped.error().message);
  } else if (recover) {
    co_await DropLayer(entry);
  }
  co_return Unexpected(std::move(error));
}

}  // namespace atl::sandbox
