// SPDX-License-Identifier: Apache-2.0
// The programs that the agent started: starting, reaping and signalling them. One lock covers
// reaping and signalling, so a pid that is signalled is never one that was reaped and given to
// somebody else. Starting has a lock of its own: a program that is born into a frozen group keeps
// whoever starts it waiting until the group goes on, and nobody else may wait for that.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>

#include "agent/spawner.h"
#include "protocol/exec.h"
#include "protocol/messages.h"

struct rusage;

namespace atl::agent {

class Child {
 public:
  explicit Child(sys::Fd exited) : exited_(std::move(exited)) {}

  uint32_t pid() const { return static_cast<uint32_t>(pid_); }
  // Becomes readable when the program has exited.
  int exited_fd() const { return exited_.get(); }

 private:
  friend class Processes;
  pid_t pid_ = -1;
  sys::Fd exited_;
  // Under Processes::mutex_.
  std::optional<protocol::Exited> status_;
  protocol::Usage usage_;
  std::optional<std::chrono::steady_clock::time_point> end_by_;
};

class Processes {
 public:
  explicit Processes(Spawner* spawner) : spawner_(spawner) {}

  Result<std::shared_ptr<Child>> Start(const Program& program, Stdio stdio);

  // A copy of the agent, which goes on with `body`, in the one thread that it has, and does not
  // return from it. It holds the lock of this object for ever: it must not use it.
  Result<std::shared_ptr<Child>> Fork(const std::function<void()>& body);

  // Nothing while it runs.
  std::optional<protocol::Exited> Status(const Child& child);
  // Once it has exited.
  protocol::Usage UsageOf(const Child& child);
  Result<void> Signal(const Child& child, int signo, bool group);
  // To any process that is running and was started by Start.
  Result<void> SignalPid(pid_t pid, int signo, bool group);
  // A SIGTERM or SIGKILL to the group asks for the end of everything in the program's session: the
  // time by which it is due. Nothing when there was none.
  std::optional<std::chrono::steady_clock::time_point> EndBy(const Child& child);
  // Whether something runs in the session of a program.
  bool HasSession(const Child& child);
  // The sessions in which something runs besides their leaders.
  static std::set<pid_t> SessionsWithOthers();
  // SIGKILL to the process group and to what else is in the program's session.
  void Kill(const Child& child);

  // Reaps for ever: our programs, the orphans that PID 1 inherits, and the spawner, which the next
  // Start starts again.
  [[noreturn]] void ReapForever();

 private:
  Result<void> SignalLocked(pid_t pid, int signo, bool group);
  void NoteEndLocked(Child* child, int signo);
  void KillSessionLocked(pid_t session);
  void ReapAll();

  // How a process ended, and what it used.
  struct End {
    int status = 0;
    protocol::Usage usage;
  };
  static End MakeEnd(int status, const rusage& used);
  static void NoteExit(Child& child, const End& end);

  std::mutex spawn_mutex_;  // before mutex_
  Spawner* spawner_;        // under spawn_mutex_, but for its pid
  std::mutex mutex_;
  bool spawning_ = false;
  // What was reaped while a program was being started: it may be that program.
  std::unordered_map<pid_t, End> unclaimed_;
  std::unordered_map<pid_t, std::shared_ptr<Child>> running_;
};

}  // namespace atl::agent
