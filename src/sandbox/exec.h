// SPDX-License-Identifier: Apache-2.0
// Commands in a sandbox, once for every dialect. In order:
//   TRY(ValidateExec(request));                                   // 400s, before anything wakes
//   sandbox = co_await registry.Acquire(id);                      // hold it until the end
//   execution = co_await StartExec(sandbox->agent(), request);    // COMMAND_NOT_FOUND, ...
//   outcome = co_await execution->Follow(sink);                   // output as it comes, or
//   captured = co_await Capture(*execution, limit);               // all of it
// Destroying the execution ends the program with its group, unless the request keeps it. Whoever
// answers a client races Follow with the client's hang-up.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/agent_client.h"
#include "sandbox/run.h"

namespace atl::sandbox {

struct ExecRequest {
  // One of the two: a program with its arguments, or a command line for bash.
  std::vector<std::string> argv;
  std::string command;
  std::string cwd = "/workspace";
  std::vector<std::pair<std::string, std::string>> env;  // added to the sandbox's
  std::string user;   // "name", "uid", "uid:gid" or "name:group"; empty: root
  std::string stdin;  // empty: /dev/null
  // Then SIGTERM to its group, 5 s later SIGKILL; exit code 124.
  std::optional<std::chrono::milliseconds> timeout;
  bool keep = false;  // it goes on when the execution is destroyed
  // In this shell (sessions.h), after the commands that were asked for before. `cwd` and `env` are
  // for this command alone; an empty `cwd`: where the shell is. No `user`.
  std::string session;
};

struct ExecOutcome {
  int exit_code = 0;  // 128+n for signal n, kTimeoutExitCode after the time limit
  int signal = 0;     // that ended it; 0: it ended by itself
  bool timed_out = false;
  bool out_of_memory = false;
  double duration_ms = 0;
  double cpu_ms = 0;  // with the programs that it waited for
  uint64_t max_rss_bytes = 0;
};

// INVALID_COMMAND or VALIDATION_FAILED.
Result<void> ValidateExec(const ExecRequest& request);

class Execution {
 public:
  Execution(std::unique_ptr<Process> process, std::string stdin)
      : process_(std::move(process)), stdin_(std::move(stdin)) {}

  int pid() const { return process_->pid(); }
  // To its group.
  async::Task<Result<void>> Signal(int signo);
  // Feeds stdin and passes the output on until the program has ended. Once.
  async::Task<Result<ExecOutcome>> Follow(OutputSink& sink);

 private:
  std::unique_ptr<Process> process_;
  std::string stdin_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// COMMAND_NOT_FOUND (404), COMMAND_PERMISSION_DENIED (403), USER_NOT_FOUND and a working directory
// that is not there (400), AGENT_TOO_OLD (409), SESSION_NOT_FOUND (404). Follow may then fail with
// SESSION_TERMINATED or SESSION_DESTROYED (410). In a session this waits for its turn.
async::Task<Result<std::unique_ptr<Execution>>> StartExec(AgentClient& agent, ExecRequest request);

// The same, for who speaks with the program while it runs: its stdin stays open after the
// request's. In a session it is the request's alone, and signals are not for single commands.
async::Task<Result<std::unique_ptr<Process>>> StartConversation(AgentClient& agent,
                                                                ExecRequest request);

struct Captured {
  ExecOutcome outcome;
  std::string out;
  std::string err;
  bool out_truncated = false;  // there was more; the program did not have to wait for it
  bool err_truncated = false;
};
// At most `limit` bytes of each stream: the first ones.
async::Task<Result<Captured>> Capture(Execution& execution, size_t limit);

}  // namespace atl::sandbox
