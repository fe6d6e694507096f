// SPDX-License-Identifier: Apache-2.0
// Programs that run as a user who is known by name, for a limited time, and are measured. An agent
// that is older than these requests refuses their frames: see IsUnknownRequest.
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

// The agent does not know a request: it is older than the daemon.
bool IsUnknownRequest(const Error& error);

}  // namespace atl::protocol
