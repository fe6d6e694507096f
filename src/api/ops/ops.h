// SPDX-License-Identifier: Apache-2.0
// /metrics, /health and /ready.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/runtime.h"
#include "async/task.h"
#include "base/result.h"
#include "http/server.h"
#include "metrics/metrics.h"

namespace atl::api {

struct ReadyCheck {
  std::string name;
  // What was found, or why the daemon cannot be used. May block.
  std::function<Result<std::string>()> look;
};

class Ops {
 public:
  // Checks that take longer than `limit` count as failed: whoever asks has a limit too.
  Ops(const metrics::Set& metrics, std::vector<ReadyCheck> checks,
      std::chrono::milliseconds limit = std::chrono::seconds(3));
  ~Ops();

  // True when the request was for one of the three, and then it has been answered.
  async::Task<bool> Handle(http::Exchange& exchange);

 private:
  struct Round;
  std::shared_ptr<Round> StartRound();
  async::Task<> RespondMetrics(http::Exchange& exchange);
  async::Task<> RespondHealth(http::Exchange& exchange);
  async::Task<> RespondReady(http::Exchange& exchange);

  const metrics::Set& metrics_;
  const std::vector<ReadyCheck> checks_;
  const std::chrono::milliseconds limit_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::shared_ptr<Round> round_;  // guarded by mutex_; the latest, which may be under way
  // A thread of their own: what makes the daemon unusable may be that all others wait. Last, so
  // that its work has ended before the rest goes.
  async::BlockingPool thread_{1};
};

}  // namespace atl::api
