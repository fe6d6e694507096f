// SPDX-License-Identifier: Apache-2.0
// A newer daemon takes over: nothing of the state is changed by this one any more.
#include "base/counted.h"
#include "base/log.h"
#include "sandbox/registry_impl.h"

namespace atl::sandbox {
namespace {

// What is still being saved or restored then is given up; its clients are told.
constexpr std::chrono::milliseconds kPatience{5'000};
constexpr std::chrono::milliseconds kLastPatience{20'000};
constexpr std::chrono::milliseconds kPause{2};

async::Task<> WaitFor(std::shared_ptr<async::Event> event) { co_await event->Wait(); }

}  // namespace

Unexpected Replaced() {
  return Fail(Code::kUnavailable, "a newer daemon takes over just now; ask again",
              "DAEMON_REPLACED");
}

async::Task<Result<async::Mutex::Lock>> Registry::Impl::AwaitTurn(async::Mutex& lock) {
  // Counted before it is asked: either Retire sees this one, or this one sees that.
  Counted counted(awaiting_turn);
  if (retired) co_return Replaced();
  async::Mutex::Lock turn = co_await lock.Acquire();
  co_return turn;
}

// Takes the locks of every sandbox, in the order in which everybody takes them.
async::Task<> Registry::Impl::TakeLocks(std::shared_ptr<Retirement> into) {
  // Whoever waits already gets what it waits for first.
  while (awaiting_turn > 0) {
    co_await async::Sleep(kPause);
    std::lock_guard guard(into->mutex);
    if (into->given_up) co_return;
  }
  std::vector<EntryPtr> all;
  {
    std::lock_guard guard(mutex);
    for (const auto& [id, entry] : entries) all.push_back(entry);
  }
  for (const EntryPtr& entry : all) {
    async::Mutex::Lock transfer = co_await entry->transfer.Acquire();
    async::Mutex::Lock lifecycle = co_await entry->lifecycle.Acquire();
    std::lock_guard guard(into->mutex);
    if (into->given_up) co_return;
    into->locks.push_back(
        {.entry = entry, .transfer = std::move(transfer), .lifecycle = std::move(lifecycle)});
  }
  into->complete.Set();
}

async::Task<Result<void>> Registry::Retire() {
  // From here on nobody gets a lock who did not wait for it already, and nobody waits for room or a
  // store: the newer daemon does that.
  impl_->retired = true;
  impl_->admission.Close(true);
  impl_->launcher.disk_guard().Rest(true);
  impl_->leaving.request_stop();
  auto retirement = std::make_shared<Impl::Retirement>();
  impl_->retirement = retirement;
  async::Spawn(impl_->runtime.NextShard(), impl_->TakeLocks(retirement), "retire");
  std::shared_ptr<async::Event> complete(retirement, &retirement->complete);
  co_await async::WithTimeout(kPatience, WaitFor(complete));
  if (!complete->is_set()) {
    log::Info("snapshots and restores that are under way are given up for the new daemon");
    impl_->ending.request_stop();
    co_await async::WithTimeout(kLastPatience, WaitFor(complete));
  }
  if (complete->is_set()) co_return Result<void>();
  Unretire();
  co_return Fail(Code::kTimeout, "what is under way with the sandboxes does not come to its end");
}

void Registry::Unretire() {
  impl_->retired = false;
  if (std::shared_ptr<Impl::Retirement> retirement = std::move(impl_->retirement)) {
    std::lock_guard guard(retirement->mutex);
    retirement->given_up = true;
    retirement->locks.clear();
  }
  impl_->admission.Close(false);
  impl_->launcher.disk_guard().Rest(false);
  impl_->leaving = std::stop_source();
  if (impl_->ending.stop_requested()) impl_->ending = std::stop_source();
}

}  // namespace atl::sandbox
