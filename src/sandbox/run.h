// SPDX-License-Identifier: Apache-2.0
// A command line in a sandbox: `bash -c`, its output as it comes, an optional time limit.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

// As `user` (ExecRequest has what that may be); empty: as the agent itself.
async::Task<Result<std::unique_ptr<Process>>> SpawnAs(AgentClient& agent, std::string user,
                                                      SpawnSpec program);

struct RunRequest {
  std::string command;
  std::string cwd = "/workspace";
  std::vector<std::pair<std::string, std::string>> env;
  std::optional<std::chrono::milliseconds> timeout;
};

struct RunOutcome {
  int exit_code = 0;  // 128+n for signal n, kTimeoutExitCode after the time limit
  bool timed_out = false;
  bool out_of_memory = false;
};

inline constexpr int kTimeoutExitCode = 124;

class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // Returns when more may come; a failure ends the run.
  virtual async::Task<Result<void>> Take(ProcessEvent::Kind kind, std::string_view data) = 0;
};

// `[A-Za-z_][A-Za-z0-9_]*`
Result<void> ValidateEnv(const std::vector<std::pair<std::string, std::string>>& env);

// Refuses what cannot be run: an empty command, one that is longer than an argument may be, a
// relative cwd, names that are none.
Result<void> ValidateRun(const RunRequest& request);

// Validates and starts. Destroying the process ends its whole process group. A working directory
// that is not there is kInvalidArgument.
async::Task<Result<std::unique_ptr<Process>>> StartRun(AgentClient& agent, RunRequest request);

// Passes the output on until the command has ended. When `timeout` has passed, the process group
// gets SIGTERM and 5 s later, with whatever else is left of its session, SIGKILL. A command that
// has ended by then has not timed out, however slowly its output is taken.
async::Task<Result<RunOutcome>> FollowRun(Process& process,
                                          std::optional<std::chrono::milliseconds> timeout,
                                          OutputSink& sink);

}  // namespace atl::sandbox
