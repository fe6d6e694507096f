// SPDX-License-Identifier: Apache-2.0
// Terminals: programs on a pseudo-terminal that any number of clients view at once, and that go on
// when nobody does.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "protocol/messages.h"

namespace atl::protocol {

// Views the terminal of this name, and makes it when it is not there (`create`). Answers
// TerminalOpened; then kStdout frames with what is kept of its output from `offset` on;
// kTerminalReplayed; kStdout frames as it goes on; Exited, and the connection ends. Or Error:
// TERMINAL_NOT_FOUND. The client may send kStdin and ResizeTerminal.
struct OpenTerminal {
  static constexpr FrameType kType = FrameType::kOpenTerminal;
  static constexpr bool kRequest = true;
  std::string name;    // 1 to 128 characters
  bool create = true;  // false: one that is there, be it that its program has ended
  // From where: all that is kept when this lies before that, or behind everything.
  uint64_t offset = 0;
  uint32_t cols = 80;
  uint32_t rows = 24;
  // Of a new one.
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> env;  // the whole environment
  std::string cwd;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t linger_ms = 0;  // is closed when nobody has viewed it for so long; 0: never

  void Fields(this auto& self, auto& io) {
    io(self.name), io(self.create), io(self.offset), io(self.cols), io(self.rows), io(self.argv);
    io(self.env), io(self.cwd), io(self.uid), io(self.gid), io(self.linger_ms);
  }
  bool operator==(const OpenTerminal&) const = default;
};

// The same, but a new one is of a user, and has a time after which it is hung up (0: none). Usage
// comes before Exited.
struct OpenUserTerminal {
  static constexpr FrameType kType = FrameType::kOpenUserTerminal;
  static constexpr bool kRequest = true;
  OpenTerminal terminal;
  std::string user;  // as Exec takes it
  uint64_t timeout_ms = 0;
  void Fields(this auto& self, auto& io) { io(self.terminal), io(self.user), io(self.timeout_ms); }
  bool operator==(const OpenUserTerminal&) const = default;
};

// Answers Terminals.
struct ListTerminals {
  static constexpr FrameType kType = FrameType::kListTerminals;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const ListTerminals&) const = default;
};

// Hangs a terminal up: SIGHUP, and SIGKILL for what has not ended soon after. Answers Ok once it is
// gone.
struct CloseTerminal {
  static constexpr FrameType kType = FrameType::kCloseTerminal;
  static constexpr bool kRequest = true;
  std::string name;
  void Fields(this auto& self, auto& io) { io(self.name); }
  bool operator==(const CloseTerminal&) const = default;
};

// The size of the screen. Of several viewers the last one to say so decides.
struct ResizeTerminal {
  static constexpr FrameType kType = FrameType::kResizeTerminal;
  uint32_t cols = 0;
  uint32_t rows = 0;
  void Fields(this auto& self, auto& io) { io(self.cols), io(self.rows); }
  bool operator==(const ResizeTerminal&) const = default;
};

struct TerminalOpened {
  static constexpr FrameType kType = FrameType::kTerminalOpened;
  uint32_t pid = 0;
  bool created = false;
  uint64_t offset = 0;  // of the first byte that follows
  void Fields(this auto& self, auto& io) { io(self.pid), io(self.created), io(self.offset); }
  bool operator==(const TerminalOpened&) const = default;
};

// This client was too slow: it goes on with what is kept, so many bytes later.
struct TerminalSkipped {
  static constexpr FrameType kType = FrameType::kTerminalSkipped;
  uint64_t bytes = 0;
  void Fields(this auto& self, auto& io) { io(self.bytes); }
  bool operator==(const TerminalSkipped&) const = default;
};

struct Terminal {
  std::string name;
  std::string command;  // argv[0]
  uint32_t pid = 0;
  bool running = false;
  Exited exited;  // when not running
  uint32_t cols = 0;
  uint32_t rows = 0;
  uint32_t viewers = 0;
  uint64_t age_ms = 0;
  void Fields(this auto& self, auto& io) {
    io(self.name), io(self.command), io(self.pid), io(self.running), io(self.exited);
    io(self.cols), io(self.rows), io(self.viewers), io(self.age_ms);
  }
  bool operator==(const Terminal&) const = default;
};

struct Terminals {
  static constexpr FrameType kType = FrameType::kTerminals;
  std::vector<Terminal> terminals;
  void Fields(this auto& self, auto& io) { io(self.terminals); }
  bool operator==(const Terminals&) const = default;
};

}  // namespace atl::protocol
