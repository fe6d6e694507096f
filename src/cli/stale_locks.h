// SPDX-License-Identifier: Apache-2.0
// Locks of the snapshots' repository that belong to processes of this host that are gone.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/config.h"

namespace atl::cli {

// Their files. Only of a repository on this host, and only with its password: what other hosts
// share is looked after by whoever opens it next.
Result<std::vector<std::string>> FindStaleLocks(const daemon::Config& config);

}  // namespace atl::cli
