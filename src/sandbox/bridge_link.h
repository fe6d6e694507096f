// SPDX-License-Identifier: Apache-2.0
// What a context's bridge and we say to each other: lines of JSON over a unix socket inside.
// Nothing that comes from there is believed.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "async/stream.h"
#include "sandbox/agent_connection.h"
#include "sandbox/interpreter.h"

namespace atl::sandbox {

// The last line of an answer.
struct BridgeDone {
  CodeOutcome outcome;  // of a run
  std::string cwd;      // of a status, like the following
  int64_t created_ms = 0;
  int64_t used_ms = 0;
  bool busy = false;
  uint64_t count = 0;
};
// It is this code's turn.
struct BridgeBegun {};
using BridgeMessage = std::variant<CodeOutput, BridgeBegun, BridgeDone>;

// kInternal, CODE_EXECUTION_ERROR for what no bridge of ours says; CONTEXT_BUSY when it refuses.
Result<BridgeMessage> ParseBridgeLine(std::string_view line);

// Where it listens.
std::string BridgeSocket(std::string_view context);

// A line of a run; the largest result with its escapes.
inline constexpr size_t kMaxBridgeLine = (8UL << 20U) + 65536;

// One request and the lines that answer it. Destroying it closes it, which ends what was asked for.
class BridgeLink {
 public:
  // CONTEXT_NOT_FOUND when nobody listens.
  static async::Task<Result<BridgeLink>> Open(AgentClient& agent, std::string context,
                                              std::string request);

  // kTimeout when none comes within `limit`.
  async::Task<Result<BridgeMessage>> Next(std::chrono::milliseconds limit);
  uint64_t bytes() const { return bytes_; }

 private:
  explicit BridgeLink(async::Stream stream) : stream_(std::move(stream)) {}
  async::Task<> Fill(Result<size_t>& filled);

  async::Stream stream_;
  std::string buffer_;
  size_t begin_ = 0;     // of the next line
  size_t searched_ = 0;  // no line ends before here
  uint64_t bytes_ = 0;
};

}  // namespace atl::sandbox
