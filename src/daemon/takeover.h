// SPDX-License-Identifier: Apache-2.0
// How a newer daemon takes the place of a running one. The running one starts the program that now
// lies where its own was started from, hands it the listening sockets and a line to talk on:
//   the new one:  'r'  I can run, but for what you hold
//   the old one:  'g'  nothing is under way any more, the run directory and the state are yours
//   the new one:  's'  I serve
// Whoever of them falls silent before 'g' changes nothing: the old one goes on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::daemon {

inline constexpr char kCanRun = 'r';
inline constexpr char kGo = 'g';
inline constexpr char kServes = 's';

// What a daemon remembers of its own start, to start its successor alike.
struct Origin {
  std::string program;  // the path of the executable
  std::vector<std::string> argv;
  sys::Fd mount_namespace;               // the one that it was started in
  std::vector<std::string> environment;  // KEY=value, what was taken out of it since

  // Before the daemon enters a mount namespace of its own and takes variables out of the
  // environment.
  static Result<Origin> Remember();
};

// The newer daemon, as the running one sees it.
class Successor {
 public:
  // `listeners` stay the caller's.
  static Result<Successor> Start(const Origin& origin, std::span<const sys::Fd> listeners);

  pid_t pid() const { return pid_; }
  // Blocks until it has said `word`. kUnavailable when it has ended, or says something else;
  // kTimeout.
  Result<void> Await(char word, std::chrono::milliseconds limit);
  Result<void> Say(char word);
  // It is not wanted any more. Waits for its end.
  void End();

 private:
  Successor(pid_t pid, sys::Fd line) : pid_(pid), line_(std::move(line)) {}
  pid_t pid_;
  sys::Fd line_;
};

// The running daemon, as the newer one sees it.
class Predecessor {
 public:
  // Nothing when this daemon was started by nobody's leave. Leaves the mount namespace of the
  // running one for the one that that was started in: before other threads run.
  static Result<std::optional<Predecessor>> FromEnvironment();

  // The inherited socket that listens at `address` and `port` (0: any); none when there is none.
  sys::Fd TakeListener(const std::string& address, uint16_t port);
  // Says that this one can run, and blocks until the state is its own.
  Result<void> AwaitTurn();
  void SayServing();
  // The line, which ends when the earlier daemon does.
  sys::Fd TakeLine() { return std::move(line_); }

 private:
  sys::Fd line_;
  std::vector<sys::Fd> listeners_;
};

}  // namespace atl::daemon
