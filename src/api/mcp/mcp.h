// SPDX-License-Identifier: Apache-2.0
// /v1/mcp, the streamable HTTP transport without streams. ?sandbox=ID: that one alone.
//   POST    one JSON-RPC message; a request is answered with JSON, a notification with 202
//   DELETE  ends a session, of which nothing is kept: 204
// A call ends when its client hangs up or, in the same session, cancels it: 202 without an answer.
#pragma once

#include "api/seed/actions.h"

namespace atl::api::mcp {

async::Task<> Post(const Services& services, http::Exchange& exchange);
async::Task<> EndSession(http::Exchange& exchange);
// What is wrong with a request before its message is read.
async::Task<> Refuse(http::Exchange& exchange, Error error);

}  // namespace atl::api::mcp
