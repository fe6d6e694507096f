// SPDX-License-Identifier: Apache-2.0
// The API as OpenAPI 3.1, made of the tables that route it, and a page to try it.
#pragma once

#include <span>
#include <string>

#include "api/v1/route.h"

namespace atl::api {

// GET /v1/openapi.json
std::span<const Route> OpenApiRoutes();

std::string OpenApiJson(const RouteTable& table);

}  // namespace atl::api
