// SPDX-License-Identifier: Apache-2.0
// The process that starts programs. PID 1 lives in the `agent` leaf of the cgroup; programs belong
// into the `work` leaf, and moving a process between cgroups costs milliseconds. So a small child
// of PID 1 stays in `work` and clones each program with CLONE_PARENT: born in `work`, and a child
// of PID 1.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

struct Program {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // KEY=value
  std::string cwd;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // beside `gid`
  bool self = false;             // the agent's own executable instead of argv[0]
  bool terminal = false;         // stdin becomes the controlling terminal of its session
};

struct Stdio {
  int in = -1;
  int out = -1;
  int err = -1;
};

class Spawner {
 public:
  // `work_procs`: the cgroup.procs files of the `work` leaf, which a restarted spawner joins.
  explicit Spawner(std::vector<sys::Fd> work_procs) : work_procs_(std::move(work_procs)) {}

  // Forks the spawner. The first call comes before any thread exists and before the agent leaves
  // `work`; a later one, after the spawner died, moves the new one to `work`.
  Result<void> Start();

  // Starts a program; its pid. Not thread-safe. A dead spawner is started again first.
  Result<pid_t> Spawn(const Program& program, Stdio stdio);

  pid_t pid() const { return pid_; }
  // Told by whoever reaps.
  void NoteDeath() { pid_ = -1; }

 private:
  Result<void> Send(const std::string& request, Stdio stdio);

  std::vector<sys::Fd> work_procs_;
  sys::Fd socket_;
  std::atomic<pid_t> pid_ = -1;
  bool started_before_ = false;
};

}  // namespace atl::agent
