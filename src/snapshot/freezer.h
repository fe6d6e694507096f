// SPDX-License-Identifier: Apache-2.0
// Holds the programs of a sandbox, and lets them go on whatever happens.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>

#include "base/result.h"

namespace atl::snapshot {

class Freezer {
 public:
  // Without `freeze` nothing is held.
  explicit Freezer(std::function<Result<void>(bool frozen)> freeze) : freeze_(std::move(freeze)) {}
  ~Freezer() { (void)Thaw(); }
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;

  Result<void> Freeze() {
    if (!freeze_) return {};
    std::lock_guard lock(mutex_);
    since_ = Clock::now();
    return freeze_(true);
  }
  // The first call that succeeds counts. Any thread.
  Result<void> Thaw() {
    std::lock_guard lock(mutex_);
    if (!since_) return {};
    TRY(freeze_(false));
    held_ = Clock::now() - *since_;
    since_.reset();
    return {};
  }
  double held_ms() const {
    std::lock_guard lock(mutex_);
    return std::chrono::duration<double, std::milli>(held_).count();
  }
  explicit operator bool() const { return static_cast<bool>(freeze_); }

 private:
  using Clock = std::chrono::steady_clock;
  std::function<Result<void>(bool frozen)> freeze_;
  mutable std::mutex mutex_;
  std::optional<Clock::time_point> since_;
  Clock::duration held_{};
};

}  // namespace atl::snapshot
