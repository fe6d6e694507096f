// SPDX-License-Identifier: Apache-2.0
// What can be done with files but their content: POST /v1/sandboxes/{id}/fs/{operation} with a JSON
// body. Paths are absolute or relative to /workspace. `user`: as whom, root when it is not there.
#pragma once

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> FsRoutes();

}  // namespace atl::api
