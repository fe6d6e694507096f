// SPDX-License-Identifier: Apache-2.0
// Threads that share a piece of work: the first error stops the others and is the result.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::snapshot {

inline Result<void> RunCrew(
    int size, const std::stop_token& stop,
    const std::function<Result<void>(int worker, const std::stop_token& stop)>& work) {
  std::stop_source own;
  std::stop_callback forward(stop, [&own] { own.request_stop(); });
  std::mutex mutex;
  std::optional<Error> first;
  auto run = [&](int worker) {
    Result<void> done = work(worker, own.get_token());
    if (done) return;
    std::lock_guard lock(mutex);
    if (!first) first = std::move(done).error();
    own.request_stop();
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < size; ++i) threads.emplace_back(run, i);
    run(0);
  }
  if (first) return std::unexpected(*std::move(first));
  if (stop.stop_requested()) return Fail(Code::kCancelled, "stopped");
  return {};
}

}  // namespace atl::snapshot
