// SPDX-License-Identifier: Apache-2.0
// [pool]: how many sandboxes wait for somebody, and when they are made.
#pragma once

#include "base/result.h"
#include "daemon/config_source.h"
#include "sandbox/pool.h"

namespace atl::daemon {

Result<sandbox::PoolOptions> ReadPool(Source& source);

}  // namespace atl::daemon
