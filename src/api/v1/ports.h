// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/<id>/ports…: what listens inside, and preview URLs.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> PortRoutes();

}  // namespace atl::api
