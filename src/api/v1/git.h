// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/git/…: repositories in a sandbox.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> GitRoutes();

}  // namespace atl::api
