// SPDX-License-Identifier: Apache-2.0
// Terminals: a WebSocket each, a list, and their end.
#pragma once

#include <span>
#include <string>

#include "api/v1/route.h"
#include "sandbox/terminal.h"

namespace atl::api {

std::span<const Route> TerminalRoutes();

// What the query of a request asks for.
Result<sandbox::TerminalSpec> TerminalSpecOf(const http::RequestHead& request);
// Opens it for a request that has passed CheckWebSocketHandshake, and passes on until one end ends.
async::Task<> ShowTerminal(const Services& services, std::string id, sandbox::TerminalSpec spec,
                           http::Exchange& exchange);

}  // namespace atl::api
