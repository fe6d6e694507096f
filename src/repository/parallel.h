// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::repository {

// Calls `fn` (Result<void>(const Item&)) for all items from up to `threads` threads. After an error
// no further item is begun; the first error is the result.
template <class Item, class Fn>
Result<void> ForEachParallel(size_t threads, std::span<const Item> items, Fn fn) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::optional<Error> error;
  const auto work = [&] {
    while (!failed) {
      const size_t i = next.fetch_add(1);
      if (i >= items.size()) return;
      Result<void> done = fn(items[i]);
      if (done) continue;
      failed = true;
      const std::lock_guard lock(mutex);
      if (!error) error = std::move(done).error();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < std::min(threads, items.size()); ++i) others.emplace_back(work);
    work();
  }
  if (error) return std::unexpected(std::move(*error));
  return {};
}

}  // namespace atl::repository
