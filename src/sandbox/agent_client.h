// SPDX-License-Identifier: Apache-2.0
// The daemon's end of the agent protocol. One connection per operation: destroying an operation
// closes its connection, which cancels it. What an agent says is checked and bounded.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "async/stream.h"
#include "async/task.h"
#include "base/result.h"
#include "sandbox/ended_for_memory.h"
#include "sandbox/terminal.h"

namespace atl::sandbox {

struct SpawnSpec {
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> env;  // added to the sandbox's own environment
  std::string cwd = "/workspace";
  bool want_stdin = false;
  // When nobody follows it any more, be it that the daemon died: SIGTERM, this long, SIGKILL.
  std::chrono::milliseconds kill_grace{0};
};

// What only Execute looks at.
struct ExecSpec {
  SpawnSpec program;
  std::string user;                      // "name", "uid", "uid:gid" or "name:group"; empty: root
  bool keep = false;                     // it goes on when nobody follows it any more
  std::chrono::milliseconds timeout{0};  // 0: none; then SIGTERM to its group, 5 s, SIGKILL
};

// What ExecuteInSession does.
struct SessionSpec {
  std::string session;
  std::string command;
  std::string cwd;  // empty: where the shell is
  std::vector<std::pair<std::string, std::string>> env;
  std::string stdin;
  bool keep = false;
  std::chrono::milliseconds timeout{0};
};

struct ProcessEvent {
  enum class Kind { kStdout, kStderr, kExited };
  Kind kind = Kind::kStdout;
  std::string_view data;  // valid until the next call of Next
  int exit_code = 0;      // kExited: the code, or 128+n for signal n
  int signal = 0;
  bool out_of_memory = false;  // kExited: the kernel's OOM killer ended it
  bool timed_out = false;      // kExited: its limit of time has passed
  uint64_t cpu_us = 0;         // kExited, of Execute: with the programs that it waited for
  uint64_t max_rss_bytes = 0;
};

// A running program. Destroying it kills the program's process group.
class Process {
 public:
  virtual ~Process() = default;
  virtual int pid() const = 0;
  // Output as it comes, then kExited, once.
  virtual async::Task<Result<ProcessEvent>> Next() = 0;
  virtual async::Task<Result<void>> WriteStdin(std::string_view data) = 0;
  virtual async::Task<Result<void>> CloseStdin() = 0;
  // To the whole process group.
  virtual async::Task<Result<void>> Signal(int signo) = 0;
};

struct DetachedInfo {
  std::string name;
  int pid = 0;
  bool running = false;
  int exit_code = 0;
};

struct ListeningSocket {
  std::string address;  // IPv4 or IPv6
  uint16_t port = 0;
  uint32_t pid = 0;  // inside; 0: not known whose it is, then the rest is empty
  std::string name;
  std::vector<std::string> argv;
};
struct Listening {
  std::vector<ListeningSocket> sockets;
  bool complete = true;  // false: there are more
};

class AgentClient {
 public:
  // `socket_path`: the agent's listening socket as the daemon sees it.
  explicit AgentClient(std::string socket_path,
                       std::vector<std::pair<std::string, std::string>> base_env,
                       OomBook ooms = {});
  virtual ~AgentClient() = default;

  // Waits until the agent answers.
  virtual async::Task<Result<void>> WaitReady(std::chrono::milliseconds limit);

  virtual async::Task<Result<std::unique_ptr<Process>>> Spawn(SpawnSpec spec);
  // The same, limited and measured. AGENT_TOO_OLD when the agent in the sandbox cannot do that.
  virtual async::Task<Result<std::unique_ptr<Process>>> Execute(ExecSpec spec);

  // A command in a shell that lasts (sessions.h). Returns when its turn has come. Then the errors
  // of Next may be SESSION_TERMINATED and SESSION_DESTROYED.
  virtual async::Task<Result<std::unique_ptr<Process>>> ExecuteInSession(SessionSpec spec);

  // Programs that outlive their connection and the daemon, by name.
  virtual async::Task<Result<int>> SpawnDetached(std::string name, SpawnSpec spec);
  virtual async::Task<Result<std::vector<DetachedInfo>>> ListDetached();
  // Output from absolute offset `offset` on, then live.
  virtual async::Task<Result<std::unique_ptr<Process>>> Attach(std::string name, uint64_t offset);
  virtual async::Task<Result<void>> SignalDetached(std::string name, int signo);

  // Makes it fit for a checkpoint; nobody can connect to it afterwards. See protocol::Park.
  virtual async::Task<Result<void>> Park(
      std::chrono::milliseconds limit = std::chrono::seconds(30));
  // It was copied while it ran, and is another one from now on. AGENT_TOO_OLD.
  virtual async::Task<Result<void>> BecomeCopy();
  // Terminals, by name: see terminal.h. AGENT_TOO_OLD.
  virtual async::Task<Result<std::unique_ptr<TerminalView>>> OpenTerminal(TerminalSpec spec);
  virtual async::Task<Result<std::vector<TerminalInfo>>> ListTerminals();
  virtual async::Task<Result<void>> CloseTerminal(std::string name);

  // What a member of the pool is told when it becomes somebody's: see protocol::Configure.
  virtual async::Task<Result<void>> Configure(std::string hostname, std::string former,
                                              std::vector<std::pair<std::string, std::string>> env);

  // A connection to 127.0.0.1:`port` inside the sandbox. kUnavailable, SERVICE_NOT_RESPONDING when
  // nothing listens.
  virtual async::Task<Result<async::Stream>> Dial(uint16_t port);

  // A connection to the unix stream socket at an absolute path inside. The same error, and
  // AGENT_TOO_OLD.
  virtual async::Task<Result<async::Stream>> DialPath(std::string path);

  const OomBook& ooms() const { return ooms_; }

  // Where operations that have a file of their own (files.h) connect to.
  const std::string& socket_path() const { return socket_path_; }
  // The whole environment of a program of `user` (empty: root) that is given `added`.
  std::vector<std::pair<std::string, std::string>> EnvironmentOf(
      std::string_view user, std::vector<std::pair<std::string, std::string>> added) const;

  // The TCP sockets that listen inside. AGENT_TOO_OLD.
  virtual async::Task<Result<Listening>> ListListening();

 private:
  std::string socket_path_;
  std::vector<std::pair<std::string, std::string>> base_env_;
  OomBook ooms_;
};

}  // namespace atl::sandbox
