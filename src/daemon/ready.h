// SPDX-License-Identifier: Apache-2.0
// What has to hold for the daemon to be of use, and how many sandboxes there are.
#pragma once

#include <vector>

#include "api/ops/ops.h"
#include "daemon/config.h"
#include "db/database.h"
#include "oci/launcher.h"
#include "sandbox/registry.h"

namespace atl::daemon {

// All that is named here must outlive the checks.
std::vector<api::ReadyCheck> ReadyChecks(const Config& config, db::Database& database,
                                         const oci::Launcher& launcher,
                                         const sandbox::Registry& registry);

// Adds atoll_sandboxes, which lives as long as the process; so must the registry.
void MeasureSandboxes(const sandbox::Registry& registry);

}  // namespace atl::daemon
