// SPDX-License-Identifier: Apache-2.0
#include "sandbox/freezer.h"

#include "base/log.h"

namespace atl::sandbox {
namespace {

// A sandbox that has just begun: its agent moves beside its first answers.
constexpr std::chrono::milliseconds kAgentLimit{2'000};

}  // namespace

Result<void> FreezePrograms(const sys::Cgroup& cgroup) {
  TRY(cgroup.AwaitAgent(kAgentLimit));
  return cgroup.Freeze(true);
}

Freezer::~Freezer() {
  Result<void> thawed = Set(false);
  if (!thawed) log::Error("let a sandbox go on: {}", thawed.error().message);
}

Result<void> Freezer::Set(bool frozen) {
  if (!frozen) {
    watch_ = {};
    std::lock_guard guard(mutex_);
    if (!frozen_) return {};
    return Thaw();
  }
  std::unique_lock guard(mutex_);
  if (frozen_) return {};
  frozen_ = true;
  Result<void> done = FreezePrograms(cgroup_);
  if (!done) {
    (void)Thaw();
    return done;
  }
  guard.unlock();
  watch_ = std::jthread([this](std::stop_token stop) { Watch(std::move(stop)); });
  return {};
}

bool Freezer::cut_short() const {
  std::lock_guard guard(mutex_);
  return cut_short_;
}

void Freezer::GiveUp() {
  std::lock_guard guard(mutex_);
  cut_short_ = true;
}

Result<void> Freezer::Thaw() {
  Result<void> done = cgroup_.Freeze(false);
  if (done) frozen_ = false;
  return done;
}

void Freezer::Watch(std::stop_token stop) {
  std::unique_lock guard(mutex_);
  changed_.wait_for(guard, stop, limit_, [] { return false; });
  if (stop.stop_requested() || !frozen_) return;
  cut_short_ = true;
  Result<void> thawed = Thaw();
  if (!thawed) log::Error("let a sandbox go on: {}", thawed.error().message);
}

}  // namespace atl::sandbox
