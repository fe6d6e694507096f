// SPDX-License-Identifier: Apache-2.0
// Directories as tar archives, out to the client and in from it.
#pragma once

#include "agent/client_link.h"
#include "protocol/archive.h"

namespace atl::agent {

Result<void> RunPackFiles(const protocol::PackFiles& request, ClientLink* link);
Result<void> RunUnpackFiles(const protocol::UnpackFiles& request, ClientLink* link);

}  // namespace atl::agent
