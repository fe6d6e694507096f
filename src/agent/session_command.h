// SPDX-License-Identifier: Apache-2.0
// One command in a shell that lasts: its output to the client, its end, and what becomes of the
// shell when it is given up.
#pragma once

#include <chrono>
#include <optional>

#include "agent/command_usage.h"
#include "agent/drain.h"
#include "agent/outbox.h"
#include "agent/session.h"
#include "agent/shell_watch.h"

namespace atl::agent {

class SessionCommand {
 public:
  // The caller has the session's turn.
  SessionCommand(Session* session, Drain* drain, int socket, Outbox* outbox)
      : session_(session),
        shell_(session->shell.get()),
        drain_(drain),
        socket_(socket),
        outbox_(outbox) {}

  Result<void> Run(const protocol::SessionExec& request);

 private:
  using Clock = std::chrono::steady_clock;

  // The shell could not be told of it.
  Result<void> Unbegun(Error error);
  // False: the command is over, or given up for good.
  bool Step();
  void HearShell();
  // The shell is of no use any more. False.
  bool Abandon();
  void Leave();
  void GiveUp(std::chrono::milliseconds grace);
  void CheckGivenUp();
  void LookAtUsage();
  // Until something is due.
  int PollMs() const;
  ssize_t ReadOutput(bool err);
  // What was written before the command ended is there by now.
  void TakeRest(bool err);
  Result<void> Terminated(const protocol::Exited& exited, bool told) const;
  Result<void> Conclude();

  Session* session_;
  Shell* shell_;
  Drain* drain_;
  int socket_;
  Outbox* outbox_;
  ShellStreams streams_;
  std::optional<int> status_;
  Result<void> refused_;   // why it was not run
  bool over_ = false;      // the command has ended, or the shell has
  bool opened_ = false;    // the command's stderr was opened, behind its stdin and stdout
  bool replaced_ = false;  // the shell's program is not bash any more
  bool stuck_ = false;     // the shell does not do what it is told
  bool client_gone_ = false;
  bool keep_ = false;
  bool alone_ = false;
  bool timed_out_ = false;
  bool err_first_ = false;
  std::optional<CommandUsage> meter_;
  std::optional<ShellWatch> watch_;
  protocol::Usage usage_;
  std::optional<Clock::time_point> deadline_;
  std::optional<Clock::time_point> kill_at_;  // it is given up
};

}  // namespace atl::agent
