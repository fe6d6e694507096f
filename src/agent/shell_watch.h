// SPDX-License-Identifier: Apache-2.0
// Whether a shell still does what it is told. Commands run in the shell itself, so they can make it
// one that runs nothing more (`set -n`), waits in a trap before each of our words, or has stopped
// itself. While a command runs the pipe by which the shell is told is closed in it: a shell that
// has it open is not in a command, and has little to do.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "agent/shell.h"

namespace atl::agent {

class ShellWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // It has been told of a command.
  explicit ShellWatch(const Shell* shell);

  Clock::time_point next_look() const { return next_look_; }
  // Looks. True: it will not run the command, or not say how that has ended.
  bool IsStuck();

 private:
  bool IsBetweenCommands() const;
  bool Note(char state, uint64_t cpu_ticks);

  const Shell* shell_;
  Clock::time_point next_look_;
  int stopped_ = 0;  // looks in a row that have seen it so
  int idle_ = 0;
  bool told_ = false;
  std::optional<uint64_t> cpu_before_;  // when it was seen between commands first
};

}  // namespace atl::agent
