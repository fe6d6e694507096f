// SPDX-License-Identifier: Apache-2.0
// What one command of a shell that lasts uses. The kernel counts processor time for the shell's
// whole life, with the programs that it has waited for: the command's share is what has been added.
// Peaks of memory it tells of the living alone, so they are looked at while the command runs; a
// program that ends between two looks is not seen.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "protocol/exec.h"

namespace atl::agent {

class CommandUsage {
 public:
  using Clock = std::chrono::steady_clock;

  // A command begins in this shell.
  explicit CommandUsage(pid_t shell);

  // When it is worth looking again.
  Clock::time_point next_look() const { return next_look_; }
  // `members`: what the command has started and still runs, as was asked from `begin` on.
  void Look(const std::vector<pid_t>& members, Clock::time_point begin);
  // The command is over. `unreaped`: nobody has waited for what Look saw last.
  protocol::Usage Take(bool unreaped) const;

 private:
  uint64_t ShellCpuUs() const;

  pid_t shell_;
  uint64_t began_us_ = 0;
  bool own_peak_ = false;  // the shell's peak is counted from its beginning on
  uint64_t peak_bytes_ = 0;
  uint64_t running_us_ = 0;  // of what Look saw last
  std::chrono::milliseconds pause_;
  Clock::time_point next_look_;
};

}  // namespace atl::agent
