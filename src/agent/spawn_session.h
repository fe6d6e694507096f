// SPDX-License-Identifier: Apache-2.0
// One program whose output streams to the client, and whose life ends with the connection, unless
// it is to be kept.
#pragma once

#include <chrono>
#include <optional>

#include "agent/outbox.h"
#include "agent/processes.h"
#include "protocol/exec.h"

namespace atl::agent {

// Environment and arguments as exec wants them, checked.
Result<Program> ToProgram(const protocol::Spawn& request);
Result<Program> ToProgram(const protocol::Exec& request);

// Pipes of a program, our ends non-blocking.
struct ProgramPipes {
  sys::Fd in;   // ours, to write; empty when stdin is /dev/null
  sys::Fd out;  // ours, to read
  sys::Fd err;
};

// Starts a program with pipes. `merge`: stderr goes into out's pipe.
Result<std::shared_ptr<Child>> StartWithPipes(Processes* processes, const Program& program,
                                              bool want_stdin, bool merge, ProgramPipes* pipes);

// How long after the exit of the program its pipes may stay silent and open (a background child
// holds them) before the operation is over.
inline constexpr int kDrainMs = 100;

class SpawnSession {
 public:
  // `parser` may hold what the client sent after its request.
  SpawnSession(int socket, protocol::FrameParser* parser, Processes* processes, Outbox* outbox)
      : socket_(socket), parser_(parser), processes_(processes), outbox_(outbox) {}

  // An error is for the client; once the program runs there is none.
  Result<void> Run(const protocol::Spawn& request);
  Result<void> Run(const protocol::Exec& request);

 private:
  using Clock = std::chrono::steady_clock;

  Result<void> Start(const Program& program, bool want_stdin);
  void Follow(uint32_t kill_grace_ms);
  bool Step();  // false: it is over
  int PollTimeout() const;
  // The client has left. True: the program goes on without it.
  bool GoOnAlone();
  // Its time is up, for the first time or for the second.
  void Expire();
  bool HandleInput();
  bool HandleFrame(const protocol::Frame& frame);
  void WriteStdin();
  bool ReadOutput(sys::Fd* pipe, protocol::FrameType type);
  // After the exit of a program that was told to end: waits for the rest of its session, and kills
  // it when its time is up.
  void EndRest();
  void EndProgram(uint32_t grace_ms);

  int socket_;
  protocol::FrameParser* parser_;
  Processes* processes_;
  Outbox* outbox_;
  std::shared_ptr<Child> child_;
  ProgramPipes pipes_;
  std::string stdin_pending_;
  size_t stdin_written_ = 0;
  bool stdin_ended_ = false;
  bool exited_ = false;
  bool ending_ = false;  // exited, as it was told to, and others of its session have not
  bool client_gone_ = false;
  bool err_first_ = false;
  bool keep_ = false;
  bool alone_ = false;  // nobody takes the output
  std::optional<Clock::time_point> deadline_;
  bool timed_out_ = false;
};

}  // namespace atl::agent
