// SPDX-License-Identifier: Apache-2.0
// /v1/pool/…: the warm pool, with the names of Cloudflare's.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> PoolRoutes();

}  // namespace atl::api
