// SPDX-License-Identifier: Apache-2.0
// Directories as archives: /v1/sandboxes/{id}/archive?path=
//   GET   a tar, or with &format=tar.zst a compressed one, of the directory (or file), without what
//         &exclude=GLOB,GLOB matches
//   PUT   the body, a tar, plain or compressed by zstd, is unpacked into the directory:
//         {"entries","bytes"}. &links=any takes symlinks that lead out of it, &owners=none makes
//         everything that of `user`, &maxBytes and &maxEntries bound it
#pragma once

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> ArchiveRoutes();

}  // namespace atl::api
