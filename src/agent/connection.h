// SPDX-License-Identifier: Apache-2.0
// One client connection: Hello, one request, its operation.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>

#include "agent/detached.h"
#include "agent/kept_watches.h"
#include "agent/process_table.h"
#include "agent/processes.h"
#include "agent/session_table.h"
#include "agent/terminals.h"
#include "protocol/messages.h"
#include "sys/fd.h"

namespace atl::agent {

class Listener;

struct Agent {
  protocol::Hello hello;
  // Guards its boot id, which changes when the agent turns out to be a copy.
  std::mutex hello_mutex;
  Listener* listener = nullptr;
  Processes* processes = nullptr;
  DetachedProcesses* detached = nullptr;
  ProcessTable* table = nullptr;
  SessionTable* sessions = nullptr;
  Terminals* terminals = nullptr;
  KeptWatches* watches = nullptr;
  // Set once this process is in its own cgroup leaf. A child that is forked before would stand
  // still with the sandbox's programs, and whoever stopped them waits for it.
  std::atomic<bool> in_own_leaf = false;
  // It is a copy of the agent that it was: gives it a name of its own, and its leaf.
  std::function<Result<void>()> begin_anew;
};

// What every connection begins with.
Result<void> Greet(Agent* agent, int client);
void ServeConnection(Agent* agent, sys::Fd client);

}  // namespace atl::agent
