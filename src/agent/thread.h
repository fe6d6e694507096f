// SPDX-License-Identifier: Apache-2.0
// Detached threads with small stacks: the agent has one per connection, and a few that live as
// long as it does.
#pragma once

#include <functional>

#include "base/result.h"

namespace atl::agent {

// An exception in `body` (there is only bad_alloc) ends the thread, not the agent.
Result<void> StartThread(std::function<void()> body);

}  // namespace atl::agent
