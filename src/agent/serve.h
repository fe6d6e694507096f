// SPDX-License-Identifier: Apache-2.0
// The agent's life: start the spawner, leave the `work` leaf, accept connections.
#pragma once

#include <string>

#include "protocol/messages.h"

namespace atl::agent {

struct ServeOptions {
  int listen_fd = 3;
  // cgroup.procs files follow the listener: this many of the `agent` leaf, then as many of `work`.
  int cgroup_fds = 0;
  protocol::DialMode dial_mode = protocol::DialMode::kDescriptor;
  std::string log_dir = "/var/log/atoll";  // of background processes
};

// Returns only when it cannot go on.
Result<void> Serve(const ServeOptions& options);

}  // namespace atl::agent
