// SPDX-License-Identifier: Apache-2.0
// The output of background processes.
#pragma once

#include "api/v1/route.h"

namespace atl::api {

inline constexpr Field kLogQuery[] = {
    {.name = "offset",
     .kind = Kind::kInteger,
     .about = "Bytes of output, both streams counted; the nextOffset of the answer before.",
     .min = 0},
    {.name = "limit",
     .kind = Kind::kInteger,
     .about = "At most so many bytes; 1 MiB unless said.",
     .min = 1,
     .max = 16 << 20},
    {.name = "follow",
     .kind = Kind::kBoolean,
     .about = "Server-sent events, until the process has ended."},
};

// GET …/logs: {"chunks": [{"stream", "offset", "time", "data" or "base64"}], "nextOffset", …}, or a
// stream of the same: stdout, stderr, then exit. A stream that was cut goes on at Last-Event-ID.
async::Task<> RespondLogs(const Services& services, Values values, http::Exchange& exchange);

}  // namespace atl::api
