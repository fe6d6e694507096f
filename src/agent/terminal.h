// SPDX-License-Identifier: Apache-2.0
// A program on a pseudo-terminal. One thread moves what it prints into a ring, from which each
// viewer reads at its own pace. The program is as fast as the fastest viewer; who is slower than
// that misses what the ring loses. A viewer that takes nothing holds it up only for a moment, and
// without viewers it runs freely.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "agent/processes.h"
#include "agent/pty.h"
#include "agent/ring.h"
#include "protocol/terminal.h"

namespace atl::agent {

class Terminal {
 public:
  static constexpr size_t kReplayBytes = 256U << 10U;

  // A place in the output, and what becomes readable when there is more.
  struct Viewer {
    uint64_t offset = 0;
    sys::Fd more;
    bool stalled = false;  // took nothing for too long; the program waits for it no longer
  };

  // Starts the program.
  static Result<std::shared_ptr<Terminal>> Start(Processes* processes,
                                                 const protocol::OpenUserTerminal& request);

  const std::string& name() const { return name_; }
  uint32_t pid() const { return child_->pid(); }
  // To write what is typed; valid as long as this object.
  int master() const { return pty_.master.get(); }

  Result<void> Resize(uint32_t cols, uint32_t rows);

  // From `offset`, or from the oldest byte that is kept.
  Result<Viewer*> Join(uint64_t offset);
  void Leave(Viewer* viewer);
  // What is kept up to now.
  uint64_t end();

  struct Piece {
    uint64_t skipped = 0;  // bytes that were lost before it
    std::string bytes;
    std::optional<protocol::Exited> exited;  // there is nothing more
    protocol::Usage usage;                   // of what has exited
  };
  // What there is, at most `limit` bytes; maybe nothing.
  Piece Read(Viewer* viewer, size_t limit);

  bool ended();
  protocol::Terminal Describe();

  // Hangs up, and waits until everything in its session has ended.
  Result<void> Close();

 private:
  using Clock = std::chrono::steady_clock;

  Terminal(Processes* processes, const protocol::OpenUserTerminal& request);
  void Pump();
  void WaitForViewers();
  bool ViewersAreBehind() const;
  // Milliseconds for poll, after what is due was done.
  int HangUpWhenDue(bool exited);
  void Wake() const;

  Processes* processes_;
  const std::string name_;
  const std::string command_;
  const std::chrono::milliseconds linger_;
  const Clock::time_point born_ = Clock::now();
  const std::optional<Clock::time_point> deadline_;
  Pty pty_;  // the slave only until the program runs
  std::shared_ptr<Child> child_;
  sys::Fd attention_;  // an eventfd: the pump looks at what has changed

  std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex:
  Ring ring_{kReplayBytes};
  std::list<Viewer> viewers_;
  std::optional<Clock::time_point> alone_since_;  // nothing: nobody has looked yet
  uint32_t cols_;
  uint32_t rows_;
  bool closing_ = false;
  std::optional<Clock::time_point> kill_at_;  // it was hung up
  bool ended_ = false;
  protocol::Exited status_;
  protocol::Usage usage_;
};

}  // namespace atl::agent
