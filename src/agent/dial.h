// SPDX-License-Identifier: Apache-2.0
// Connections to services inside the sandbox.
#pragma once

#include "agent/outbox.h"
#include "protocol/ports.h"

namespace atl::agent {

// Connects to 127.0.0.1:port and either hands the socket over or relays.
Result<void> RunDial(const protocol::Dial& request, protocol::DialMode mode, int socket,
                     protocol::FrameParser* parser, Outbox* outbox);
// The same for the unix socket at a path.
Result<void> RunDialPath(const protocol::DialPath& request, protocol::DialMode mode, int socket,
                         protocol::FrameParser* parser, Outbox* outbox);

}  // namespace atl::agent
