// SPDX-License-Identifier: Apache-2.0
// What a new daemon does with what an earlier one left.
#include <fmt/format.h>

#include "base/log.h"
#include "oci/leaks.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {

async::Task<> Registry::Impl::ReconcileInto(Result<void>& result) {
  co_await async::DisableCancellation();
  Stopwatch watch;
  auto end_calls = [this] { return oci::EndRuntimeCalls(LauncherConfigOf(options)); };
  Result<void> calls_ended = co_await runtime.blocking().Run(end_calls);
  if (!calls_ended) log::Warning("{}", calls_ended.error().message);
  auto read = [this] { return rows.All(); };
  Result<std::vector<Row>> all = co_await runtime.blocking().Run(read);
  if (!all) {
    result = Unexpected(std::move(all).error());
    co_return;
  }
  std::vector<EntryPtr> found;
  for (Row& row : *all) {
    EntryPtr entry = Obtain(row.id);
    std::lock_guard guard(mutex);
    entry->row = std::move(row);
    entry->exists = true;
    found.push_back(entry);
  }
  if (!found.empty()) co_await ReconcileAll(found, 0, found.size());

  auto sweep = [this]() -> Result<void> {
    ASSIGN(KnownIids known, rows.Known());
    return oci::RemoveLeaks(launcher, LauncherConfigOf(options), known.live, known.running);
  };
  Result<void> swept = co_await runtime.blocking().Run(sweep);
  // What could not be removed is a matter for `doctor --leaks`; sandboxes can be served meanwhile.
  if (!swept) log::Warning("remove what belongs to no sandbox: {}", swept.error().message);
  log::Info("{} sandboxes were looked at in {:.0f} ms", found.size(), watch.Lap());
  reconciled = true;
  result = Result<void>();
}

// Side by side: each may wait for crun and for its agent.
async::Task<> Registry::Impl::ReconcileAll(const std::vector<EntryPtr>& all, size_t begin,
                                           size_t end) {
  if (end - begin == 1) {
    co_await ReconcileOne(all[begin]);
    co_return;
  }
  size_t middle = begin + (end - begin) / 2;
  co_await async::Both(ReconcileAll(all, begin, middle), ReconcileAll(all, middle, end));
}

async::Task<> Registry::Impl::ReconcileOne(EntryPtr entry) {
  async::Mutex::Lock lock = co_await entry->lifecycle.Acquire();
  std::string id = entry->row.id;
  State state = entry->row.state;
  // A daemon died while it filled an empty layer: what is there is no more than a part.
  if (entry->row.recover && (state == State::kStopped || state == State::kRunning)) {
    Result<void> emptied = co_await StopContainer(entry);
    if (emptied) {
      co_await DropLayer(entry);
      log::Info("sandbox {} was not yet restored: it is at its next start", id);
    } else {
      log::Error("sandbox {}: {}", id, emptied.error().message);
      SetState(entry, State::kFailed, emptied.error().message);
    }
    co_return;
  }
  if (state == State::kStopped) co_return;
  if (state == State::kRunning) {
    Result<void> adopted = co_await Adopt(entry);
    if (adopted) {
      log::Info("sandbox {} is running: adopted", id);
      co_return;
    }
    log::Warning("sandbox {} is stopped: {}", id, adopted.error().message);
    Result<void> stopped = co_await StopContainer(entry);
    if (!stopped) {
      log::Error("sandbox {}: {}", id, stopped.error().message);
      SetState(entry, State::kFailed, stopped.error().message);
    }
    co_return;
  }
  Result<void> destroyed = co_await DestroyAll(entry);
  if (destroyed) {
    log::Info("sandbox {} was {}: removed", id, StateName(state));
  } else {
    log::Error("sandbox {} was {} and cannot be removed: {}", id, StateName(state),
               destroyed.error().message);
  }
}

async::Task<Result<void>> Registry::Impl::Adopt(EntryPtr entry) {
  auto adopt = [this, &entry] { return launcher.Adopt(entry->row.iid); };
  CO_ASSIGN(oci::Launched launched, co_await runtime.blocking().Run(adopt));
  // A daemon may have died while the sandbox stood still for a snapshot.
  auto thaw = [this, &entry] { return launcher.CgroupOf(entry->row.iid).Freeze(false); };
  CO_TRY(co_await runtime.blocking().Run(thaw));
  Phases phases;
  Result<void> connected = co_await Connect(entry, std::move(launched), false, phases);
  co_return connected;
}

}  // namespace atl::sandbox
