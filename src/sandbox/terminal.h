// SPDX-License-Identifier: Apache-2.0
// Terminals of a sandbox: shells that any number of clients look at, that go on when nobody does,
// and that a new daemon finds as an earlier one left them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"

namespace atl::sandbox {

struct TerminalSize {
  uint32_t cols = 80;
  uint32_t rows = 24;
};

struct TerminalSpec {
  std::string name = "default";
  bool create = true;   // false: only one that is there; TERMINAL_NOT_FOUND
  uint64_t offset = 0;  // of its output: what was before it is not repeated
  TerminalSize size;
  // Of a new one.
  std::vector<std::string> argv;                         // empty: bash, or sh where there is none
  std::vector<std::pair<std::string, std::string>> env;  // added to the sandbox's own
  std::string cwd = "/workspace";
  std::chrono::milliseconds linger{0};  // is closed when nobody has looked for so long; 0: never
  // Asks for what follows, and for what it has used. AGENT_TOO_OLD.
  bool of_user = false;
  std::string user;                      // as of ExecRequest
  std::chrono::milliseconds timeout{0};  // then it is hung up; 0: never
};

// `[A-Za-z0-9._-]{1,128}` for the name, 1 to 1000 columns and rows, an absolute cwd; environment
// and user as of ExecRequest.
Result<void> ValidateTerminal(const TerminalSpec& spec);
Result<void> ValidateTerminalName(std::string_view name);
Result<void> ValidateTerminalSize(TerminalSize size);

struct TerminalEvent {
  // kOutput until kReplayed is what was there before. kSkipped: this viewer was too slow.
  enum class Kind : uint8_t { kOutput, kReplayed, kSkipped, kExited };
  Kind kind = Kind::kOutput;
  std::string_view data;  // valid until the next call of Next
  uint64_t skipped = 0;   // bytes
  int exit_code = 0;      // 128+n for signal n
  int signal = 0;
  bool timed_out = false;  // kExited, `of_user`
  uint64_t cpu_us = 0;
  uint64_t max_rss_bytes = 0;
};

// One viewer. Destroying it leaves the terminal as it is. One coroutine may wait for what comes
// while another types.
class TerminalView {
 public:
  virtual ~TerminalView() = default;
  virtual int pid() const = 0;
  virtual bool created() const = 0;
  // Of the first byte that comes.
  virtual uint64_t offset() const = 0;
  // kExited is the last.
  virtual async::Task<Result<TerminalEvent>> Next() = 0;
  virtual async::Task<Result<void>> Type(std::string_view keys) = 0;
  virtual async::Task<Result<void>> Resize(TerminalSize size) = 0;
};

struct TerminalInfo {
  std::string name;
  std::string command;
  int pid = 0;
  bool running = false;
  int exit_code = 0;  // when not running; 128+n for signal n
  TerminalSize size;
  uint32_t viewers = 0;
  uint64_t age_ms = 0;
};

}  // namespace atl::sandbox
