// SPDX-License-Identifier: Apache-2.0
// Fills the stage of a running restore.
#pragma once

#include "agent/client_link.h"
#include "protocol/tree.h"

namespace atl::agent {

// In a child of its own: leaves umask 0 behind.
Result<void> RunStageWrite(const protocol::StageWrite& request, ClientLink* link);

}  // namespace atl::agent
