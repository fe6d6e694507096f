// SPDX-License-Identifier: Apache-2.0
// What a sandbox uses: now, in the last ten minutes, and how much it may.
#pragma once

#include <string>

#include "api/seed/actions.h"
#include "async/task.h"
#include "http/server.h"
#include "json/writer.h"
#include "sandbox/usage.h"

namespace atl::api {

// {"cpus", "memory", "processes", "disk", ...}
void WriteUsage(json::Writer& writer, const sandbox::UsageReport& report);

// GET /v1/sandboxes/<id>/usage
async::Task<> RespondUsage(const Services& services, std::string id, http::Exchange& exchange);

}  // namespace atl::api
