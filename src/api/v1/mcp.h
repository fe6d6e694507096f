// SPDX-License-Identifier: Apache-2.0
// /v1/mcp: tools for models.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> McpRoutes();

}  // namespace atl::api
