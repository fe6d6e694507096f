// SPDX-License-Identifier: Apache-2.0
// Frames: {u8 type, u8 flags = 0, u16 reserved = 0, u32 length}, little-endian, then the payload.
// Nothing here does I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::protocol {

inline constexpr size_t kHeaderBytes = 8;
inline constexpr size_t kMaxDataBytes = 1U << 20U;       // payload of a data frame
inline constexpr size_t kMaxControlBytes = 256U << 10U;  // payload of any other frame

enum class FrameType : uint8_t {
  kHello = 1,

  // Requests: the first frame from the client, one per connection.
  kSpawn = 16,
  kAttach = 17,
  kList = 18,
  kSignal = 19,
  kDial = 22,
  kPing = 23,
  kWalk = 24,
  kReadFiles = 25,
  kRestore = 26,
  kStageWrite = 27,
  kConfigure = 28,
  kPark = 29,

  // From the client while an operation runs. kStdinEnd and kTreeEnd have no payload.
  kStdinEnd = 32,
  kSignalProcess = 33,
  kTreeEnd = 35,
  kCommit = 36,

  // From the agent.
  kStarted = 48,
  kExited = 49,
  kEnd = 50,
  kProcesses = 51,
  kAttached = 52,
  kDialed = 53,
  kOk = 54,
  kError = 55,
  kWalkEnd = 56,
  kStaged = 57,

  // Data: the payload is the bytes themselves.
  kStdin = 64,
  kStdout = 65,
  kStderr = 66,
  kRelay = 68,
  kTree = 69,

  // Either end of a relayed connection has sent everything (half-close). No payload.
  kRelayEnd = 72,

  // Programs, processes and shells that are kept (exec.h): 80 to 99. Requests, then answers.
  kExec = 80,
  kProcessStart = 81,
  kProcessList = 82,
  kProcessGet = 83,
  kProcessLogs = 84,
  kProcessSignal = 85,
  kProcessStop = 86,
  kSessionOpen = 87,
  kSessionExec = 88,
  kSessionClose = 89,
  kSessionList = 93,
  kUsage = 90,
  kProcessInfo = 91,
  kLogChunk = 92,
  kSessionInfo = 94,

  // Copies of running sandboxes: 150 to 154.
  kBecomeCopy = 150,

  // Files: 100 to 139, see files.h. Requests, what the client says meanwhile, answers, data.
  kStatFile = 100,
  kReadFile = 101,
  kWriteFile = 102,
  kMakeDir = 103,
  kMoveFile = 104,
  kCopyFile = 105,
  kRemoveFile = 106,
  kSetFile = 107,
  kListFiles = 108,
  kPackFiles = 109,
  kUnpackFiles = 110,
  kWatchFiles = 111,
  kReadTreeState = 112,
  kFileCommit = 116,
  kFileInfo = 120,
  kFileOpened = 121,
  kListEnd = 122,
  kWatching = 123,
  kTreeState = 124,
  kFileData = 132,
  kFileEntries = 133,
  kFileEvents = 134,

  // Ports: a request and its answer (ports.h).
  kListPorts = 160,
  kPorts = 161,
  // The answer is kDialed.
  kDialPath = 185,

  // Terminals: terminal.h. kTerminalReplayed has no payload.
  kOpenTerminal = 140,
  kListTerminals = 141,
  kCloseTerminal = 142,
  kResizeTerminal = 143,
  kTerminalOpened = 144,
  kTerminals = 145,
  kTerminalSkipped = 146,
  kTerminalReplayed = 147,

  // A request of watch.h; its answer is kTreeState.
  kReadTreePart = 173,
  // A request of files.h and one of terminal.h.
  kWriteOwnedFile = 174,
  kOpenUserTerminal = 175,
  // Watches that outlast their clients: a request, its answer, data (watch.h).
  kKeepWatch = 170,
  kWatchKept = 171,
  kKeptEvents = 172,

  // Requests of exec.h.
  kServiceStart = 180,
  kSessionUse = 181,
};

bool IsKnown(FrameType type);
constexpr bool IsData(FrameType type) {
  if (type >= FrameType::kFileData && type <= FrameType::kFileEvents) return true;
  if (type == FrameType::kKeptEvents) return true;
  return type >= FrameType::kStdin && type <= FrameType::kTree;
}
// The longest payload of a frame of this type.
constexpr size_t PayloadLimit(FrameType type) {
  return IsData(type) ? kMaxDataBytes : kMaxControlBytes;
}

using Header = std::array<char, kHeaderBytes>;

// For data that is sent without being copied: write the header, then the bytes.
Header EncodeHeader(FrameType type, size_t payload_bytes);
// Header and payload. The payload must be within PayloadLimit.
std::string EncodeFrame(FrameType type, std::string_view payload = {});

struct Frame {
  FrameType type = FrameType::kOk;
  std::string_view payload;  // valid until the parser is next given bytes or asked for space
};

// Takes bytes as they come and gives frames. Holds at most one frame and what was fed with it.
//   auto space = parser.Space(64 << 10); n = read(fd, space.data(), space.size());
//   parser.Commit(n); while (auto frame = parser.Next()) ...
class FrameParser {
 public:
  // At least `wanted` writable bytes; more when a frame is known to need more. Commit says how many
  // were written.
  std::span<char> Space(size_t wanted);
  void Commit(size_t count) { end_ += count; }

  void Feed(std::string_view bytes);

  // The next complete frame, or nothing yet. An error is final: the stream cannot be understood.
  Result<std::optional<Frame>> Next();

  // Bytes that are held and were not given out: not zero at the end of a stream means it was cut.
  size_t pending() const { return end_ - begin_; }

 private:
  std::unique_ptr<char[]> buffer_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t missing_ = 0;  // bytes that the frame at begin_ still lacks, when that is known
  bool failed_ = false;
};

}  // namespace atl::protocol
