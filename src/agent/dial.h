// SPDX-License-Identifier: Apache-2.0
// Connections to services inside the sandbox.
#pragma once

#include "agent/outbox.h"

namespace atl::agent {

// Connects to 127.0.0.1:port and either hands the socket over or relays.
Result<void> RunDial(const protocol::Dial& request, protocol::DialMode mode, int socket,
                     protocol::FrameParser* parser, Outbox* outbox);

}  // namespace atl::agent
