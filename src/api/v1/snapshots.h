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

#include <string>
#include <vector>

#include "api/seed/actions.h"
#include "http/server.h"

namespace atl::api {

// `rest`: the parts of the path behind "/v1/snapshots". Always answers.
async::Task<> HandleSnapshots(const Services& services, std::vector<std::string> rest,
                              http::Exchange& exchange);

// GET /v1/sandboxes/<id>/snapshots: the same list, of one sandbox.
async::Task<> ListSnapshotsOf(const Services& services, std::string sandbox,
                              http::Exchange& exchange);

}  // namespace atl::api
