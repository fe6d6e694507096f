// SPDX-License-Identifier: Apache-2.0
// GET /v1/sandboxes/{id}/exec/ws: one command on a WebSocket, its input as it is typed and its
// output as it comes.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> ExecSocketRoutes();

}  // namespace atl::api
