// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "repository/locks.h"

namespace atl::repository {

// A lock whose file is in the store; a thread renews it.
class HeldLock final : public Lock {
 public:
  HeldLock(Locks& locks, bool exclusive, const Id& file);
  ~HeldLock() override;
  bool valid() const override;

 private:
  void Renew(const std::stop_token& stop);

  Locks& locks_;
  const bool exclusive_;
  Id file_;
  std::atomic<int64_t> renewed_ms_;
  mutable std::atomic<bool> lost_ = false;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

}  // namespace atl::repository
