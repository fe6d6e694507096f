// SPDX-License-Identifier: Apache-2.0
// A shell that lasts between commands, and whose turn it is.
#pragma once

#include <sys/eventfd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "agent/shell.h"
#include "protocol/exec.h"

namespace atl::agent {

struct Session {
  using Clock = std::chrono::steady_clock;

  Session(protocol::SessionInfo of, uint64_t timeout, bool opened_by_use,
          std::unique_ptr<Shell> with)
      : info(std::move(of)),
        timeout_ms(timeout),
        by_use(opened_by_use),
        closing(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        shell(std::move(with)) {}

  const protocol::SessionInfo info;  // as it was opened
  const uint64_t timeout_ms;
  const bool by_use;  // it makes room for others
  std::atomic<uint64_t> commands = 0;
  std::atomic<bool> busy = false;
  std::atomic<bool> closed = false;
  std::atomic<bool> made_room = false;  // closed, and nobody has asked for that
  std::atomic<Clock::time_point> idle_since = Clock::now();
  const sys::Fd closing;  // readable: the command that runs is to be given up

  std::mutex turn;  // held by the command that runs
  std::unique_ptr<Shell> shell;
};

}  // namespace atl::agent
