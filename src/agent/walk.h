// SPDX-License-Identifier: Apache-2.0
// Says what is in a directory tree: every entry with what belongs to it, no content. Runs in a
// transfer child, whose working directory it changes.
#pragma once

#include "agent/client_link.h"
#include "protocol/tree.h"

namespace atl::agent {

Result<void> RunWalk(const protocol::Walk& request, ClientLink* link);

}  // namespace atl::agent
