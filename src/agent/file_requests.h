// SPDX-License-Identifier: Apache-2.0
// The requests about files, and where they run: what touches one entry, as root, in the
// connection's own thread; whatever takes a whole tree or another user in a child of its own.
#pragma once

#include "agent/processes.h"
#include "protocol/frame.h"

namespace atl::agent {

bool IsFileRequest(protocol::FrameType type);

Result<void> DispatchFileRequest(const protocol::Frame& frame, int socket,
                                 protocol::FrameParser* parser, Processes* processes);

}  // namespace atl::agent
