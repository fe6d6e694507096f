// SPDX-License-Identifier: Apache-2.0
// Programs that the daemon runs to completion: crun, git, mmdebstrap. Never forks a threaded
// parent.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

struct Command {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH
  std::vector<std::string> env;   // "KEY=value"; empty means the parent's
  std::string stdin_data;         // at most 64 KiB: it is written before anything is read
  // Descriptors the child gets as 3, 4, ... in this order. Borrowed.
  std::vector<int> inherit;
  // Where stdout and stderr go; -1 means they are captured (both, each at most `capture_limit`).
  int stdout_fd = -1;
  int stderr_fd = -1;
  size_t capture_limit = 1U << 20U;
  std::chrono::milliseconds timeout{60'000};  // then SIGKILL and kTimeout
  // Asked now and then: what it answers ends the program, and is the error.
  std::function<Result<void>()> watch;
};

struct Finished {
  int exit_code = 0;  // 128+n for signal n
  std::string out;
  std::string err;
};

// Runs and waits. Blocking: call it from the blocking pool. A program that exits with another code
// than 0 is not an error here.
Result<Finished> Run(const Command& command);

// Like Run, but another exit code than 0 is an error that carries the tail of stderr.
Result<std::string> RunChecked(const Command& command);

Result<Fd> PidfdOpen(pid_t pid);

}  // namespace atl::sys
