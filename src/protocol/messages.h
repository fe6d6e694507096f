// SPDX-License-Identifier: Apache-2.0
// What daemon and agent say to each other. One operation per connection; closing the connection
// cancels it. `Fields` lists the members in wire order; requests start with a version.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "protocol/frame.h"
#include "protocol/wire.h"

namespace atl::protocol {

// Agents outlive the daemon that started them, so a daemon meets those of every release since
// kOldestVersion, and each end keeps to what the other understands:
// - Hello never changes. It says the newest version that the agent knows.
// - A request begins with the version in which it got the layout that it has (`kSince`, or 1), not
//   with that of its sender: an older agent takes every request that it knows in that layout.
// - What an answer looks like is settled by the version of its request.
// - A request that an agent does not know has a frame type that it does not know, or a version: it
//   refuses both in a way that IsUnknownRequest tells, and the daemon says AGENT_TOO_OLD.
// Version 1 takes requests of version 1 only, version 2 those of 1 and 2.
inline constexpr uint32_t kVersion = 2;
inline constexpr uint32_t kOldestVersion = 1;

struct Versions {
  uint32_t oldest = kOldestVersion;
  uint32_t newest = kVersion;
};
// Of requests that this program takes, if it is an agent.
Versions Understood();

enum class DialMode : uint8_t {
  kDescriptor = 0,  // Dialed carries the connected socket (SCM_RIGHTS)
  kRelay = 1,       // bytes follow as kRelay frames in both directions
};
inline bool IsKnown(DialMode mode) { return mode <= DialMode::kRelay; }

// The agent's first frame on every connection. The client need not wait for it.
struct Hello {
  static constexpr FrameType kType = FrameType::kHello;
  uint32_t version = Understood().newest;
  DialMode dial_mode = DialMode::kDescriptor;
  uint32_t pid = 0;
  std::string boot_id;  // random, new with every start of the agent

  void Fields(this auto& self, auto& io) {
    io(self.version), io(self.dial_mode), io(self.pid), io(self.boot_id);
  }
  bool operator==(const Hello&) const = default;
};

// Starts a program. Answers Started, then kStdout and kStderr frames, then Exited, then the
// connection ends; or Error. The client may send kStdin, kStdinEnd and SignalProcess.
// Detached: Started, then the connection ends; the output goes to a ring, see Attach.
struct Spawn {
  static constexpr FrameType kType = FrameType::kSpawn;
  static constexpr bool kRequest = true;
  std::vector<std::string> argv;  // argv[0] without a slash is looked up in env's PATH
  std::vector<std::pair<std::string, std::string>> env;  // the whole environment
  std::string cwd;
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool want_stdin = false;  // false: stdin is /dev/null
  bool detached = false;
  std::string name;            // of a detached process: 1 to 64 characters
  uint32_t ring_bytes = 0;     // of a detached process: 0 is 256 KiB, at most 4 MiB
  uint32_t kill_grace_ms = 0;  // when the client goes away: SIGTERM, this long, SIGKILL

  void Fields(this auto& self, auto& io) {
    io(self.argv), io(self.env), io(self.cwd), io(self.uid), io(self.gid), io(self.want_stdin);
    io(self.detached), io(self.name), io(self.ring_bytes), io(self.kill_grace_ms);
  }
  bool operator==(const Spawn&) const = default;
};

// The output of a detached process from an absolute offset, then live: Attached, kStdout frames
// (stdout and stderr are one stream), Exited. An offset past the end means "from now on"; one that
// the ring has lost starts at the oldest byte kept.
struct Attach {
  static constexpr FrameType kType = FrameType::kAttach;
  static constexpr bool kRequest = true;
  std::string name;
  uint64_t offset = 0;

  void Fields(this auto& self, auto& io) { io(self.name), io(self.offset); }
  bool operator==(const Attach&) const = default;
};

// The detached processes, running and ended. Answers Processes.
struct ListProcesses {
  static constexpr FrameType kType = FrameType::kList;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const ListProcesses&) const = default;
};

// Sends a signal to a detached process by name, or, when the name is empty, to a process that the
// agent started, by pid. `group`: to its whole process group; SIGTERM and SIGKILL then mean the end
// of the program's session: what is left of it 5 s after the SIGTERM, or after the SIGKILL, is
// killed even when the program itself has exited, and Exited comes after that. Answers Ok.
struct Signal {
  static constexpr FrameType kType = FrameType::kSignal;
  static constexpr bool kRequest = true;
  std::string name;
  uint32_t pid = 0;
  int32_t signo = 0;
  bool group = false;

  void Fields(this auto& self, auto& io) {
    io(self.name), io(self.pid), io(self.signo), io(self.group);
  }
  bool operator==(const Signal&) const = default;
};

// Connects to 127.0.0.1:port inside. Answers Dialed, or Error (SERVICE_NOT_RESPONDING).
struct Dial {
  static constexpr FrameType kType = FrameType::kDial;
  static constexpr bool kRequest = true;
  uint32_t port = 0;
  void Fields(this auto& self, auto& io) { io(self.port); }
  bool operator==(const Dial&) const = default;
};

// Answers Ok.
struct Ping {
  static constexpr FrameType kType = FrameType::kPing;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const Ping&) const = default;
};

// Makes a sandbox that was prepared for nobody somebody's: the host name that it has now gets its
// address in /etc/hosts in the place of `former`, and `env` is written where the shells of programs
// that run already find it. Answers Ok.
struct Configure {
  static constexpr FrameType kType = FrameType::kConfigure;
  static constexpr bool kRequest = true;
  std::string hostname;
  std::string former;
  std::vector<std::pair<std::string, std::string>> env;

  void Fields(this auto& self, auto& io) { io(self.hostname), io(self.former), io(self.env); }
  bool operator==(const Configure&) const = default;
};

// Makes the agent fit to be checkpointed with everything that runs: in the place of its listener it
// holds an empty file without a name, and it waits for that descriptor to be a listener again,
// which it is in a copy that was restored with one. Answers Ok; nobody can connect afterwards.
struct Park {
  static constexpr FrameType kType = FrameType::kPark;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const Park&) const = default;
};

// To an agent that was copied while it ran, without a Park: it is another one from now on, in
// another sandbox's cgroup. Answers Ok once it is in its own leaf.
struct BecomeCopy {
  static constexpr FrameType kType = FrameType::kBecomeCopy;
  static constexpr bool kRequest = true;
  void Fields(this auto&, auto&) {}
  bool operator==(const BecomeCopy&) const = default;
};

// A signal to the process group of this connection's spawn.
struct SignalProcess {
  static constexpr FrameType kType = FrameType::kSignalProcess;
  int32_t signo = 0;
  void Fields(this auto& self, auto& io) { io(self.signo); }
  bool operator==(const SignalProcess&) const = default;
};

struct Started {
  static constexpr FrameType kType = FrameType::kStarted;
  uint32_t pid = 0;
  void Fields(this auto& self, auto& io) { io(self.pid); }
  bool operator==(const Started&) const = default;
};

// Exactly one of the two says something: `signal` is 0 when the program exited by itself.
struct Exited {
  static constexpr FrameType kType = FrameType::kExited;
  int32_t exit_code = 0;
  int32_t signal = 0;
  void Fields(this auto& self, auto& io) { io(self.exit_code), io(self.signal); }
  bool operator==(const Exited&) const = default;
};

// An operation on a directory tree is complete.
struct End {
  static constexpr FrameType kType = FrameType::kEnd;
  uint64_t files = 0;    // files read, entries staged or changes made
  uint64_t bytes = 0;    // of file contents
  uint64_t skipped = 0;  // what could not be read, had vanished or could not be set
  void Fields(this auto& self, auto& io) { io(self.files), io(self.bytes), io(self.skipped); }
  bool operator==(const End&) const = default;
};

struct Process {
  std::string name;
  uint32_t pid = 0;
  bool running = false;
  Exited exited;              // when not running
  uint64_t output_begin = 0;  // the ring holds [begin, end) of the output
  uint64_t output_end = 0;
  void Fields(this auto& self, auto& io) {
    io(self.name), io(self.pid), io(self.running), io(self.exited);
    io(self.output_begin), io(self.output_end);
  }
  bool operator==(const Process&) const = default;
};

struct Processes {
  static constexpr FrameType kType = FrameType::kProcesses;
  std::vector<Process> processes;
  void Fields(this auto& self, auto& io) { io(self.processes); }
  bool operator==(const Processes&) const = default;
};

struct Attached {
  static constexpr FrameType kType = FrameType::kAttached;
  uint32_t pid = 0;
  uint64_t offset = 0;  // of the first byte that follows
  void Fields(this auto& self, auto& io) { io(self.pid), io(self.offset); }
  bool operator==(const Attached&) const = default;
};

struct Dialed {
  static constexpr FrameType kType = FrameType::kDialed;
  DialMode mode = DialMode::kDescriptor;
  void Fields(this auto& self, auto& io) { io(self.mode); }
  bool operator==(const Dialed&) const = default;
};

struct Ok {
  static constexpr FrameType kType = FrameType::kOk;
  void Fields(this auto&, auto&) {}
  bool operator==(const Ok&) const = default;
};

struct Failure {
  static constexpr FrameType kType = FrameType::kError;
  Code code = Code::kInternal;
  std::string reason;
  int32_t sys_errno = 0;
  std::string message;
  void Fields(this auto& self, auto& io) {
    io(self.code), io(self.reason), io(self.sys_errno), io(self.message);
  }
  bool operator==(const Failure&) const = default;
};

Failure ToFailure(const Error& error);
Error ToError(Failure failure);

template <class M>
concept Request = M::kRequest;

template <Request M>
constexpr uint32_t SinceOf() {
  if constexpr (requires { M::kSince; }) {
    static_assert(M::kSince <= kVersion);
    return M::kSince;
  } else {
    return 1;
  }
}

// Header and payload. kTooLarge when it does not fit a control frame.
template <class M>
Result<std::string> Encode(const M& message) {
  Writer writer;
  if constexpr (Request<M>) writer.U32(SinceOf<M>());
  writer(message);
  std::string payload = std::move(writer).Take();
  if (payload.size() > kMaxControlBytes) {
    return Fail(Code::kTooLarge, "arguments and environment are larger than 256 KiB");
  }
  return EncodeFrame(M::kType, payload);
}

// Of a request that has come.
Result<void> CheckVersion(uint32_t version);
// Of an agent that has said Hello: AGENT_TOO_OLD when it is older than anything that this daemon
// speaks with. A newer one takes requests of this daemon's, or refuses them.
Result<void> CheckAgentVersion(uint32_t version);
// The agent does not know a request: it is older than the daemon.
bool IsUnknownRequest(const Error& error);

template <class M>
Result<M> Decode(std::string_view payload) {
  Reader reader(payload);
  if constexpr (Request<M>) {
    uint32_t version = reader.U32();
    if (reader.ok()) TRY(CheckVersion(version));
  }
  M message;
  reader(message);
  TRY(reader.Finish());
  return message;
}

// The frame as an M; a Failure becomes the error that it carries, another type is kInternal.
Error UnexpectedFrame(const Frame& frame);
template <class M>
Result<M> Expect(const Frame& frame) {
  if (frame.type != M::kType) return Unexpected(UnexpectedFrame(frame));
  return Decode<M>(frame.payload);
}

}  // namespace atl::protocol
