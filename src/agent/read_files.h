// SPDX-License-Identifier: Apache-2.0
// Reads the files that the client names, many to a frame. Runs in a transfer child.
#pragma once

#include "agent/client_link.h"
#include "protocol/tree.h"

namespace atl::agent {

Result<void> RunReadFiles(const protocol::ReadFiles& request, ClientLink* link);

}  // namespace atl::agent
