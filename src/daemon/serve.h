// SPDX-License-Identifier: Apache-2.0
// The daemon: makes every part, joins them, serves until SIGTERM.
#pragma once

#include "base/result.h"
#include "daemon/config.h"

namespace atl::daemon {

// Returns when it could not start; a started daemon ends the process itself. Sandboxes go on
// running and are adopted by the next daemon.
Result<void> Serve(Config config);

}  // namespace atl::daemon
