// SPDX-License-Identifier: Apache-2.0
// /v1/snapshots: every snapshot of the repository, whoever made it.
//   GET    /v1/snapshots?sandbox=&dir=&name=&trigger=&tag=&limit=&cursor=
//   GET    /v1/snapshots/<id>            one
//   PATCH  /v1/snapshots/<id>            {"name"?, "tags"?, "pinned"?, "ttl"?}
//   DELETE /v1/snapshots/<id>
//   GET    /v1/snapshots/<id>/diff?to=<other>&limit=
//   GET    /v1/snapshots/<id>/tree?path=&limit=&cursor=
//   GET    /v1/snapshots/<id>/file?path=  its bytes; Range is honoured
//   GET    /v1/snapshots/<id>/archive     .tar.zst; ?presign=1&valid=<seconds> gives an URL
// Restored are they by POST /v1/sandboxes/<id>/restore/<snapshot id>, into any sandbox.
#pragma once

#include <span>
#include <string>

#include "api/v1/route.h"

namespace atl::api {

inline constexpr Field kSnapshotQuery[] = {
    {.name = "dir", .kind = Kind::kPath, .about = "Of this directory."},
    {.name = "name"},
    {.name = "trigger", .about = "manual, stop, interval, …"},
    {.name = "tag"},
    {.name = "limit", .kind = Kind::kInteger, .about = "At most so many.", .min = 1, .max = 1000},
    {.name = "cursor", .about = "Of the answer before."},
};

std::span<const Route> SnapshotRoutes();

// GET /v1/sandboxes/<id>/snapshots: the same list, of one sandbox.
async::Task<> ListSnapshotsOf(const Services& services, std::string sandbox,
                              http::Exchange& exchange);

}  // namespace atl::api
