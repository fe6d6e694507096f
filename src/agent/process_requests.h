// SPDX-License-Identifier: Apache-2.0
// The requests that are about background processes.
#pragma once

#include "agent/process_table.h"

namespace atl::agent {

Result<void> RunProcessRequest(ProcessTable* table, const protocol::Frame& frame, int socket,
                               Outbox* outbox);

}  // namespace atl::agent
