// SPDX-License-Identifier: Apache-2.0
// A sleep that can be made to end earlier.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "async/task.h"

namespace atl::async {

// Belongs to one shard.
class Alarm {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Alarm(const Executor& executor) : timer_(executor) {}

  // One sleeper at a time.
  Task<> SleepUntil(Clock::time_point when);
  // A sleep that would end later ends now.
  void WakeBy(Clock::time_point when);

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace atl::async
