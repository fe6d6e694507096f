// SPDX-License-Identifier: Apache-2.0
// Runs an operation on a directory tree in a forked child of the agent: its memory is its own and
// limited, it stays in the agent's cgroup (so that it goes on while the programs are frozen), and
// whatever a tree does to it, the agent goes on. The child may use its working directory, umask and
// heap as it likes; it has one thread and a stack of 4 MiB. It must not touch what other threads of
// the agent may hold a lock of.
#pragma once

#include <functional>

#include "agent/client_link.h"
#include "agent/processes.h"

namespace atl::agent {

enum class WhenClientLeaves {
  kKill,  // the child is killed: it holds nothing that has to be put in order
  kGoOn,  // the child notices by itself and ends when it sees fit
};

// Returns when the child has ended. An error of `body` is sent to the client, as is the child's
// death, unless a frame is half sent.
Result<void> RunTransfer(int socket, protocol::FrameParser* parser, Processes* processes,
                         WhenClientLeaves when_client_leaves,
                         const std::function<Result<void>(ClientLink* link)>& body);

}  // namespace atl::agent
