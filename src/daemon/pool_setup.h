// SPDX-License-Identifier: Apache-2.0
// OpenCode as it is configured, and what the warm pool and forks do with it.
#pragma once

#include "daemon/config.h"
#include "opencode/server.h"
#include "sandbox/fork.h"
#include "sandbox/pool.h"

namespace atl::daemon {

opencode::Options OpencodeOptions(const Config& config);

sandbox::PoolOptions PoolOptionsOf(const Config& config);
// `servers` must outlive the registry that uses them.
sandbox::PoolHooks PoolHooksOf(const Config& config, opencode::Servers& servers);
sandbox::ForkHooks ForkHooksOf(opencode::Servers& servers);

}  // namespace atl::daemon
