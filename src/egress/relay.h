// SPDX-License-Identifier: Apache-2.0
// Takes a sandbox's TCP connections to where they want to go, if they may. Internal to this room.
#pragma once

#include <memory>

#include "async/stream.h"
#include "async/task.h"
#include "egress/link.h"

namespace atl::egress {

// Accepts until the link is closing; then every connection ends too.
async::Task<> ServeConnections(std::shared_ptr<Link> link, async::Listener listener);

}  // namespace atl::egress
