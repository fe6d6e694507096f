// SPDX-License-Identifier: Apache-2.0
// Cloudflare's bridge API, for clients that speak it: /v1/sandbox on the bare domain.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> BridgeRoutes();

}  // namespace atl::api
