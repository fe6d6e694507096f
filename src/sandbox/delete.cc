// SPDX-License-Identifier: Apache-2.0
// Deleting, from any state. Whoever is at work with the sandbox gives up what can be given up; who
// does not within a deadline loses what runs inside, and with that what it waits for.
#include <fmt/format.h>

#include <chrono>

#include "base/log.h"
#include "metrics/atoll.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::seconds kDeleteAgainPause{10};

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

}  // namespace

async::Task<Result<void>> Registry::Impl::DestroyAll(EntryPtr entry, bool wanted) {
  bool begun = false;  // by an earlier try, which has written what it is for
  std::shared_ptr<Sandbox> sandbox;
  {
    std::lock_guard guard(mutex);
    sandbox = std::move(entry->sandbox);
    begun = entry->row.state == State::kDeleting;
    // Also for whoever tries again.
    wanted = entry->delete_wanted = entry->delete_wanted || wanted;
    entry->row.state = State::kDeleting;
    entry->reserved = false;
  }
  // Who still holds the sandbox keeps an object whose connections are gone.
  if (sandbox) sandbox->network_.reset();
  const std::string& iid = entry->row.iid;
  const std::string& id = entry->row.id;
  auto destroy = [this, &iid, &id, wanted, begun]() -> Result<void> {
    if (wanted) {
      TRY(rows.BeginDelete(iid, id));
    } else if (!begun) {
      TRY(rows.SetState(iid, State::kDeleting, {}, "what was half-made is undone"));
    }
    Result<void> destroyed = launcher.Destroy(iid);
    if (destroyed && wanted) {
      if (auto repository = vault.Opened()) {
        known_files.Forget(snapshot::KnownOwner(*repository, id));
      }
    }
    if (destroyed) return rows.Remove(iid);
    (void)rows.SetState(iid, State::kDeleting, destroyed.error().message);
    return destroyed;
  };
  Result<void> destroyed = co_await runtime.blocking().Run(destroy);
  if (destroyed) {
    Discard(entry);
  } else {
    // It stays one that is to be deleted: tried again by itself, and by whoever asks.
    std::lock_guard guard(mutex);
    entry->row.failure = destroyed.error().message;
    entry->delete_again_at = std::chrono::steady_clock::now() + kDeleteAgainPause;
  }
  co_return destroyed;
}

async::Task<> Registry::Impl::HoldForDelete(std::string id, Result<Held>& held,
                                            async::Event& done) {
  held = co_await Hold(std::move(id), false);
  done.Set();
}

async::Task<> Registry::Impl::EndUnless(EntryPtr entry, async::Event& done) {
  while (true) {
    co_await async::WithTimeout(options.agent_deadline, WaitFor(done));
    if (done.is_set() || retired) co_return;
    std::string iid;
    {
      std::lock_guard guard(mutex);
      if (entry->removed || !entry->exists) continue;
      iid = entry->row.iid;
    }
    log::Warning("sandbox {}: who is at work with it does not come to an end; what runs is killed",
                 entry->row.id);
    auto kill = [this, &iid] { return launcher.CgroupOf(iid).Kill(); };
    Result<void> killed = co_await runtime.blocking().Run(kill);
    if (!killed) log::Warning("sandbox {}: {}", entry->row.id, killed.error().message);
  }
}

async::Task<> Registry::Impl::DeleteInto(std::string id, Result<void>& result) {
  co_await async::DisableCancellation();
  EntryPtr entry = Lookup(id);
  if (entry) {
    std::lock_guard guard(mutex);
    entry->deleting.request_stop();
  }
  Result<Held> held = Fail(Code::kInternal, "nothing is held");
  async::Event done;
  async::Task<> hold = HoldForDelete(std::move(id), held, done);
  if (entry) {
    co_await async::Both(std::move(hold), EndUnless(entry, done));
  } else {
    co_await std::move(hold);
  }
  if (!held) {
    if (entry) {
      std::lock_guard guard(mutex);
      entry->deleting = std::stop_source();
    }
    result = Unexpected(std::move(held).error());
    co_return;
  }
  metrics::Measure measure(metrics::Get().delete_seconds);
  result = co_await DestroyAll(held->entry, true);
  measure.Succeeded(result.has_value());
  if (!result) result = Unexpected(Late(std::move(result).error()));
}

}  // namespace atl::sandbox
