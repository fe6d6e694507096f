// SPDX-License-Identifier: Apache-2.0
// Relays an archive between the client and a process that reads or writes it. That process is the
// agent's own executable, started like any program: its memory counts as the sandbox's work, and
// whatever an archive does to it, PID 1 goes on.
#pragma once

#include "agent/outbox.h"
#include "agent/processes.h"

namespace atl::agent {

Result<void> RunTarOut(const protocol::TarOut& request, int socket, Processes* processes,
                       Outbox* outbox);
Result<void> RunTarIn(const protocol::TarIn& request, int socket, protocol::FrameParser* parser,
                      Processes* processes, Outbox* outbox);

}  // namespace atl::agent
