// SPDX-License-Identifier: Apache-2.0
// A bash that runs one command after the other in itself, so that its directory, variables,
// functions and aliases last. It is told numbers over a pipe; what belongs to a number lies in a
// directory of its own: the command, and a FIFO for each of the two streams, which ends with the
// command, whatever it leaves running. After each command it says the status (shell_driver.h), then
// saves its state there, from which another shell can go on.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/processes.h"

namespace atl::agent {

struct ShellCommand {
  std::string text;
  std::string cwd;
  std::vector<std::pair<std::string, std::string>> env;
  std::string stdin;
};

// The streams of one command, our ends: non-blocking.
struct ShellStreams {
  sys::Fd out;
  sys::Fd err;
};

class Shell {
 public:
  // Makes a directory for it, which belongs to the program's user.
  static Result<std::unique_ptr<Shell>> Make(Processes* processes, Program program);
  ~Shell();
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  // Whether it runs.
  bool alive() const;
  // How it has ended.
  protocol::Exited exited() const;
  const std::shared_ptr<Child>& child() const { return child_; }
  // For whoever does not have its turn.
  uint32_t pid() const { return pid_; }
  // Whether anything but the shell itself runs in it, of `sessions` in which others run.
  bool HasOthers(const std::set<pid_t>& sessions) const;
  // A shell in the place of one that has ended. `fresh`: not with the state that was saved last.
  Result<void> Restart(bool fresh);

  Result<ShellStreams> Begin(const ShellCommand& command);
  int status_fd() const { return status_.get(); }
  // Reads what it says, without waiting. The status of the command that was begun last, once it has
  // ended; or why it was not run.
  Result<std::optional<int>> ReadStatus();
  // Whether it has said that it knows of that command.
  bool told() const { return told_; }
  // Who the shell is, and by which pipe it is told.
  const Program& program() const { return program_; }
  int commands_fd() const { return commands_.get(); }
  // The command is over: its files go.
  void Finish();

  // Stops the shell, so that it does not go on with the rest of a command that is given up.
  void Freeze();
  void Thaw();
  // What the command has started and still runs.
  std::vector<pid_t> CommandMembers() const;
  // SIGTERM or SIGKILL to what the command has started. False when nothing of it runs.
  bool SignalCommand(int signo);
  // Ends the shell itself, and waits for that.
  void End();
  // Ends everything that ever ran in it.
  void EndAll();

 private:
  Shell(Processes* processes, Program program, std::string dir)
      : processes_(processes), program_(std::move(program)), dir_(std::move(dir)) {}
  Result<void> Start(const std::string& state);
  std::string File(const char* kind) const;
  Result<void> WriteFor(const char* kind, std::string_view text) const;
  void NoteSaved(uint64_t number);

  Processes* processes_;
  Program program_;
  std::string dir_;
  std::string names_;  // what the names of its own variables begin with
  std::shared_ptr<Child> child_;
  std::atomic<uint32_t> pid_ = 0;
  std::vector<std::shared_ptr<Child>> former_;  // whose sessions may hold what they left running
  sys::Fd commands_;
  sys::Fd status_;
  std::string said_;
  std::string state_;  // the file that was saved last
  uint64_t number_ = 0;
  std::string key_;  // of the command that was begun last
  bool told_ = false;
  uint64_t began_ticks_ = 0;
  pid_t newest_before_ = 0;
};

}  // namespace atl::agent
