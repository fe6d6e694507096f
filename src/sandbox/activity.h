// SPDX-License-Identifier: Apache-2.0
// Whether somebody works with a sandbox, and since when nobody does.
#pragma once

#include <atomic>
#include <chrono>

namespace atl::sandbox {

class Activity {
 public:
  using Clock = std::chrono::steady_clock;

  void Begin() { ++uses_; }
  void End() {
    Touch();
    --uses_;
  }
  // Something happened just now.
  void Touch() { last_ = Clock::now().time_since_epoch().count(); }
  int uses() const { return uses_; }
  Clock::time_point idle_since() const { return Clock::time_point(Clock::duration(last_.load())); }

 private:
  std::atomic<int> uses_ = 0;
  std::atomic<Clock::rep> last_ = Clock::now().time_since_epoch().count();
};

}  // namespace atl::sandbox
