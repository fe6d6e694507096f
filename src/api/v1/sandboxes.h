// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes: what there is, and the actions on one of them.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> SandboxRoutes();

}  // namespace atl::api
