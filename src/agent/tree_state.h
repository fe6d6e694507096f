// SPDX-License-Identifier: Apache-2.0
// One value for all that is in a directory.
#pragma once

#include "agent/client_link.h"
#include "protocol/watch.h"

namespace atl::agent {

Result<void> RunReadTreeState(const protocol::ReadTreeState& request, ClientLink* link);
Result<void> RunReadTreePart(const protocol::ReadTreePart& part, ClientLink* link);

}  // namespace atl::agent
