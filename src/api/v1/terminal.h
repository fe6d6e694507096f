// SPDX-License-Identifier: Apache-2.0
// Terminals: a WebSocket each, a list, and their end.
#pragma once

#include <span>

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> TerminalRoutes();

}  // namespace atl::api
