// SPDX-License-Identifier: Apache-2.0
// Programs that run as a user who is known by name, for a limited time, and are measured; processes
// that are kept, and shells that last. An agent that is older than these requests refuses their
// frames: see IsUnknownRequest.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "protocol/messages.h"

namespace atl::protocol {

// Starts a program. Answers Started, then kStdout and kStderr frames, then Usage and Exited, then
// the connection ends; or Error. The client may send kStdin, kStdinEnd and SignalProcess.
struct Exec {
  static constexpr FrameType kType = FrameType::kExec;
  static constexpr bool kRequest = true;
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> env;  // the whole environment
  std::string cwd;
  // "name", "uid", "uid:gid" or "name:group", as the sandbox knows them; empty: root. HOME, USER
  // and LOGNAME are the user's unless `env` has them.
  std::string user;
  bool want_stdin = false;  // false: stdin is /dev/null
  // When the client leaves: false ends the program, true lets it run on, its output discarded.
  bool keep = false;
  uint32_t kill_grace_ms = 0;  // when the client leaves: SIGTERM, this long, SIGKILL
  uint64_t timeout_ms = 0;     // 0: none; then SIGTERM to the group, 5 s, SIGKILL

  void Fields(this auto& self, auto& io) {
    io(self.argv), io(self.env), io(self.cwd), io(self.user), io(self.want_stdin), io(self.keep);
    io(self.kill_grace_ms), io(self.timeout_ms);
  }
  bool operator==(const Exec&) const = default;
};

// What a program and those that it waited for have used.
struct Usage {
  static constexpr FrameType kType = FrameType::kUsage;
  uint64_t cpu_us = 0;
  uint64_t max_rss_bytes = 0;
  bool timed_out = false;
  void Fields(this auto& self, auto& io) {
    io(self.cpu_us), io(self.max_rss_bytes), io(self.timed_out);
  }
  bool operator==(const Usage&) const = default;
};

enum class Restart : uint8_t { kNever = 0, kOnFailure = 1, kAlways = 2 };
inline bool IsKnown(Restart restart) { return restart <= Restart::kAlways; }

// Starts a process that outlives its connection and the daemon. Answers ProcessInfo.
// PROCESS_ALREADY_EXISTS while one of this id has not ended.
struct ProcessStart {
  static constexpr FrameType kType = FrameType::kProcessStart;
  static constexpr bool kRequest = true;
  std::string id;  // 1 to 64 of letters, digits, '.', '_', '-', not '.' first
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> env;
  std::string cwd;
  std::string user;
  std::string display;  // what to call it; at most 1 KiB is kept
  Restart restart = Restart::kNever;

  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.argv), io(self.env), io(self.cwd), io(self.user), io(self.display);
    io(self.restart);
  }
  bool operator==(const ProcessStart&) const = default;
};

// The same, of a process that was there before the sandbox was started anew: its log goes on where
// the one of this id has ended.
struct ServiceStart {
  static constexpr FrameType kType = FrameType::kServiceStart;
  static constexpr bool kRequest = true;
  ProcessStart process;
  void Fields(this auto& self, auto& io) { io(self.process); }
  bool operator==(const ServiceStart&) const = default;
};

enum class ProcessStatus : uint8_t {
  kRunning = 0,  // or waits to be started again
  kExited = 1,
  kKilled = 2,  // by a signal, or because it was stopped
  kError = 3,   // it could not be started again
};
inline bool IsKnown(ProcessStatus status) { return status <= ProcessStatus::kError; }

struct ProcessInfo {
  static constexpr FrameType kType = FrameType::kProcessInfo;
  std::string id;
  std::string display;
  std::string cwd;
  std::string user;
  std::string error;  // kError: why
  ProcessStatus status = ProcessStatus::kRunning;
  Restart restart = Restart::kNever;
  uint32_t pid = 0;  // the last one
  uint32_t restarts = 0;
  Exited exited;            // of the last run, when it has ended
  uint64_t started_ms = 0;  // Unix time, of the last run
  uint64_t ended_ms = 0;    // 0: not yet
  uint64_t log_begin = 0;   // what is kept of the output: [begin, end)
  uint64_t log_end = 0;
  uint64_t cpu_us = 0;  // of the last run
  uint64_t max_rss_bytes = 0;

  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.display), io(self.cwd), io(self.user), io(self.error), io(self.status);
    io(self.restart), io(self.pid), io(self.restarts), io(self.exited);
    io(self.started_ms), io(self.ended_ms), io(self.log_begin), io(self.log_end);
    io(self.cpu_us), io(self.max_rss_bytes);
  }
  bool operator==(const ProcessInfo&) const = default;
};

// Answers ProcessInfo, or Error (PROCESS_NOT_FOUND).
struct ProcessGet {
  static constexpr FrameType kType = FrameType::kProcessGet;
  static constexpr bool kRequest = true;
  std::string id;
  void Fields(this auto& self, auto& io) { io(self.id); }
  bool operator==(const ProcessGet&) const = default;
};

// All, in the order of their starts. Answers ProcessInfo frames, then Ok.
struct ProcessList {
  static constexpr FrameType kType = FrameType::kProcessList;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const ProcessList&) const = default;
};

// The output of a process from an absolute offset, counted over both streams in the order in which
// they were read. Answers LogChunk frames, then ProcessInfo. What is no longer kept is left out:
// the first chunk says where it begins. `follow`: goes on until the process has ended.
struct ProcessLogs {
  static constexpr FrameType kType = FrameType::kProcessLogs;
  static constexpr bool kRequest = true;
  std::string id;
  uint64_t offset = 0;
  uint64_t limit = 0;  // bytes; 0: none, which with `follow` waits for the end alone
  bool follow = false;
  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.offset), io(self.limit), io(self.follow);
  }
  bool operator==(const ProcessLogs&) const = default;
};
inline constexpr size_t kMaxLogChunk = 64U << 10U;
struct LogChunk {
  static constexpr FrameType kType = FrameType::kLogChunk;
  uint64_t offset = 0;  // of its first byte
  uint64_t time_ms = 0;
  bool err = false;
  std::string data;  // at most kMaxLogChunk
  void Fields(this auto& self, auto& io) {
    io(self.offset), io(self.time_ms), io(self.err), io(self.data);
  }
  bool operator==(const LogChunk&) const = default;
};

// To its process group. Answers Ok, or Error (PROCESS_NOT_FOUND).
struct ProcessSignal {
  static constexpr FrameType kType = FrameType::kProcessSignal;
  static constexpr bool kRequest = true;
  std::string id;
  int32_t signo = 0;
  void Fields(this auto& self, auto& io) { io(self.id), io(self.signo); }
  bool operator==(const ProcessSignal&) const = default;
};

// Ends it and everything in its session, and starts it no more: SIGTERM, `grace_ms`, SIGKILL.
// An empty id: all of them. Answers Ok when they have ended.
struct ProcessStop {
  static constexpr FrameType kType = FrameType::kProcessStop;
  static constexpr bool kRequest = true;
  std::string id;
  uint32_t grace_ms = 5000;
  void Fields(this auto& self, auto& io) { io(self.id), io(self.grace_ms); }
  bool operator==(const ProcessStop&) const = default;
};

// Opens a shell that lasts between commands. Answers SessionInfo; SESSION_ALREADY_EXISTS,
// TOO_MANY_SESSIONS.
struct SessionOpen {
  static constexpr FrameType kType = FrameType::kSessionOpen;
  static constexpr bool kRequest = true;
  std::string id;  // as of a process
  std::vector<std::pair<std::string, std::string>> env;
  std::string cwd;
  std::string user;
  uint64_t timeout_ms = 0;  // of commands that have none of their own; 0: none

  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.env), io(self.cwd), io(self.user), io(self.timeout_ms);
  }
  bool operator==(const SessionOpen&) const = default;
};
// The same, for a session that nobody has opened in words but by using it. Nobody closes those, so
// they make room: while there are as many sessions as there may be, whoever opens one has the one
// of these closed that has been idle for longest and has nothing running.
struct SessionUse {
  static constexpr FrameType kType = FrameType::kSessionUse;
  static constexpr bool kRequest = true;
  SessionOpen session;
  void Fields(this auto& self, auto& io) { io(self.session); }
  bool operator==(const SessionUse&) const = default;
};
struct SessionInfo {
  static constexpr FrameType kType = FrameType::kSessionInfo;
  std::string id;
  std::string user;
  std::string cwd;   // where it began
  uint32_t pid = 0;  // of the shell that it has now
  uint64_t created_ms = 0;
  uint64_t commands = 0;
  bool busy = false;
  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.user), io(self.cwd), io(self.pid), io(self.created_ms);
    io(self.commands), io(self.busy);
  }
  bool operator==(const SessionInfo&) const = default;
};

// Runs a command in the shell itself, after those that were asked for before. Answers Started,
// kStdout and kStderr frames, Usage and Exited; or Error: SESSION_NOT_FOUND, SESSION_TERMINATED
// when the command has ended the shell (the next one gets a fresh one), SESSION_DESTROYED when it
// was closed meanwhile. A command that is given up, because its time has passed or its client has
// left, is killed with all that it started; the shell is then as it was before it.
struct SessionExec {
  static constexpr FrameType kType = FrameType::kSessionExec;
  static constexpr bool kRequest = true;
  std::string id;
  std::string command;
  std::string cwd;  // for this command; empty: where the shell is
  std::vector<std::pair<std::string, std::string>> env;  // for this command
  std::string stdin;
  bool keep = false;  // it goes on when the client leaves
  uint64_t timeout_ms = 0;
  void Fields(this auto& self, auto& io) {
    io(self.id), io(self.command), io(self.cwd), io(self.env), io(self.stdin), io(self.keep);
    io(self.timeout_ms);
  }
  bool operator==(const SessionExec&) const = default;
};

// Ends it and what runs in it. Answers Ok.
struct SessionClose {
  static constexpr FrameType kType = FrameType::kSessionClose;
  static constexpr bool kRequest = true;
  std::string id;
  void Fields(this auto& self, auto& io) { io(self.id); }
  bool operator==(const SessionClose&) const = default;
};

// Answers SessionInfo frames, then Ok.
struct SessionList {
  static constexpr FrameType kType = FrameType::kSessionList;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const SessionList&) const = default;
};

}  // namespace atl::protocol
