// SPDX-License-Identifier: Apache-2.0
// Waiting for what background processes do.
#pragma once

#include "api/v1/route.h"

namespace atl::api {

inline constexpr std::string_view kWaitChoices[] = {"exit", "log", "port"};
inline constexpr Field kWaitQuery[] = {
    {.name = "for", .about = "\"exit\" (usual), \"log\" or \"port\".", .choices = kWaitChoices},
    {.name = "timeoutMs",
     .kind = Kind::kInteger,
     .about = "30000 unless said; then 408 PROCESS_READY_TIMEOUT.",
     .min = 1,
     .max = 86'400'000},
    {.name = "pattern", .about = "log: what a line has in it."},
    {.name = "regex", .about = "log: a regular expression (RE2) instead."},
    {.name = "port", .kind = Kind::kInteger, .about = "port: which one.", .min = 1, .max = 65535},
    {.name = "path", .about = "port: answers GET of this path, not only connections."},
    {.name = "status", .about = "port: with this status, \"200\" or \"200-399\" (usual)."},
};

// GET …/wait
async::Task<> RespondWait(const Services& services, Values values, http::Exchange& exchange);

}  // namespace atl::api
