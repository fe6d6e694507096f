// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/sessions: shells that last between commands.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> SessionRoutes();

}  // namespace atl::api
