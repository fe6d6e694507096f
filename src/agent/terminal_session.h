// SPDX-License-Identifier: Apache-2.0
// One client at a terminal: what is kept of the output, then the output as it goes on, and what the
// client types.
#pragma once

#include "agent/outbox.h"
#include "agent/terminals.h"

namespace atl::agent {

// Until the program has ended or the client is gone. `parser` may hold what the client sent after
// its request. `with_usage`: at the end that is told, too.
Result<void> ShowTerminal(TerminalView* view, int socket, protocol::FrameParser* parser,
                          Outbox* outbox, bool with_usage);

}  // namespace atl::agent
