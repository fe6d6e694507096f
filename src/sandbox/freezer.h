// SPDX-License-Identifier: Apache-2.0
// Makes the programs of a sandbox stand still for a moment. Whatever happens they go on: when the
// freezer is destroyed, and when it has lasted too long.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "sys/cgroup.h"

namespace atl::sandbox {

// Freezes the programs of a sandbox, and not its agent: one that has just begun has still to leave
// their group, and would never answer again. Blocks.
Result<void> FreezePrograms(const sys::Cgroup& cgroup);

class Freezer {
 public:
  Freezer(sys::Cgroup cgroup, std::chrono::milliseconds limit)
      : cgroup_(std::move(cgroup)), limit_(limit) {}
  ~Freezer();
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;

  Result<void> Set(bool frozen);
  // The programs went on before they were told to, or never stood still.
  bool cut_short() const;
  // They could not be stopped, and that is accepted.
  void GiveUp();

 private:
  Result<void> Thaw();
  void Watch(std::stop_token stop);

  sys::Cgroup cgroup_;
  std::chrono::milliseconds limit_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  bool frozen_ = false;
  bool cut_short_ = false;
  std::jthread watch_;
};

}  // namespace atl::sandbox
