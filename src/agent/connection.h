// SPDX-License-Identifier: Apache-2.0
// One client connection: Hello, one request, its operation.
#pragma once

#include "agent/detached.h"
#include "agent/processes.h"
#include "protocol/messages.h"
#include "sys/fd.h"

namespace atl::agent {

struct Agent {
  protocol::Hello hello;
  Processes* processes = nullptr;
  DetachedProcesses* detached = nullptr;
};

void ServeConnection(Agent* agent, sys::Fd client);

}  // namespace atl::agent
