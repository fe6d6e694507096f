// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/contexts and /code: the code interpreter.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> CodeRoutes();

}  // namespace atl::api
