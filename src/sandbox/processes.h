// SPDX-License-Identifier: Apache-2.0
// Background processes in a sandbox, once for every dialect. They live in the sandbox's agent: they
// outlive whoever started them and this daemon, and end with the sandbox. What a function takes is
// sandbox->agent() of an acquired sandbox, which is to be held meanwhile.
// Errors: PROCESS_NOT_FOUND (404), PROCESS_ALREADY_EXISTS (409), AGENT_TOO_OLD (409), and those of
// StartExec.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "protocol/exec.h"
#include "sandbox/agent_connection.h"
#include "sandbox/exec.h"

namespace atl::sandbox {

using protocol::LogChunk;
using protocol::ProcessInfo;
using protocol::ProcessStatus;
using protocol::Restart;

// "running", "exited", "killed", "error"; "never", "on-failure", "always"
std::string_view StatusName(ProcessStatus status);
std::string_view RestartName(Restart restart);
// Whether the kernel has ended it for want of memory, as far as this daemon knows.
bool EndedForMemory(const AgentClient& agent, const ProcessInfo& info);
std::optional<Restart> ParseRestart(std::string_view name);

struct ProcessRequest {
  std::string id;       // empty: a new one
  ExecRequest program;  // without stdin, timeout and keep
  Restart restart = Restart::kNever;
  bool service = false;  // its log goes on where the one of this id has ended
  std::string display;   // what it is called in lists; empty: by its command line
};

// What it is called: its command line.
std::string DisplayOf(const ExecRequest& program);

async::Task<Result<ProcessInfo>> StartProcess(AgentClient& agent, ProcessRequest request);
async::Task<Result<ProcessInfo>> GetProcess(AgentClient& agent, std::string id);
// Running and ended, in the order of their starts. Of those that have ended the last thousand.
async::Task<Result<std::vector<ProcessInfo>>> ListProcesses(AgentClient& agent);
// To its group.
async::Task<Result<void>> SignalProcess(AgentClient& agent, std::string id, int signo);
// Ends it with everything in its session, and starts it no more: SIGTERM, 5 s, SIGKILL. An empty id
// means all. Returns when it has ended; one that has is left alone.
async::Task<Result<void>> StopProcess(AgentClient& agent, std::string id);

// The output from an offset on: chunks, then what the process is then. Destroying it closes it.
class ProcessLogReader {
 public:
  // `limit`: about so many bytes; nothing: as much as there is. `follow`: on until it has ended.
  static async::Task<Result<std::unique_ptr<ProcessLogReader>>> Open(AgentClient& agent,
                                                                     std::string id,
                                                                     uint64_t offset,
                                                                     std::optional<uint64_t> limit,
                                                                     bool follow);
  explicit ProcessLogReader(std::unique_ptr<AgentConnection> connection)
      : connection_(std::move(connection)) {}

  // ProcessInfo is the last one.
  using Item = std::variant<LogChunk, ProcessInfo>;
  async::Task<Result<Item>> Next();

 private:
  std::unique_ptr<AgentConnection> connection_;
};

// Waiting. PROCESS_READY_TIMEOUT (408) when it does not happen in time; PROCESS_EXITED_BEFORE_READY
// (500) when the process ends first.
async::Task<Result<ProcessInfo>> WaitForExit(AgentClient& agent, std::string id,
                                             std::chrono::milliseconds limit);
struct LogMatch {
  bool err = false;
  std::string line;                 // the one that matches, bounded
  std::vector<std::string> groups;  // of a regular expression
};
// A line of either stream, from the beginning of what is kept, that has `pattern` in it. A regular
// expression is RE2's, whose cost is linear. VALIDATION_FAILED for one that is none.
async::Task<Result<LogMatch>> WaitForLog(AgentClient& agent, std::string id, std::string pattern,
                                         bool regex, std::chrono::milliseconds limit);
struct PortProbe {
  uint16_t port = 0;
  std::string path;  // empty: that it accepts connections is enough; else GET answers so:
  int least_status = 200;
  int most_status = 399;
};
// The HTTP status that it answered, or 0. An empty id: whatever process it is that listens.
async::Task<Result<int>> WaitForPort(AgentClient& agent, std::string id, PortProbe probe,
                                     std::chrono::milliseconds limit);

}  // namespace atl::sandbox
