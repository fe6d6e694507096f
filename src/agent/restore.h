// SPDX-License-Identifier: Apache-2.0
// Makes a directory what the client says: new content is staged beside the old, a journal says what
// changes place, and a rename decides. See staging.h, journal.h and commit.h.
#pragma once

#include "agent/processes.h"
#include "protocol/frame.h"
#include "protocol/tree.h"

namespace atl::agent {

// Runs in a child; when that is killed, another one undoes or finishes what it began.
Result<void> RunRestore(const protocol::Restore& request, int socket, protocol::FrameParser* parser,
                        Processes* processes);

}  // namespace atl::agent
