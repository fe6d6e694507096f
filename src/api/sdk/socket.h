// SPDX-License-Identifier: Apache-2.0
// The WebSocket transport of the SDK: requests and answers of the same routes as JSON messages,
// many at a time. {"type":"request","id","method","path","body"} and {"type":"cancel","id"} come
// in;
// {"type":"stream","id","data"}, {"type":"response","id","status","body","done":true} and
// {"type":"error","id","code","message","status"} go out.
#pragma once

#include <functional>

#include "async/task.h"
#include "http/server.h"

namespace atl::api::sdk {

// Answers one of the requests, as any that came by itself.
using Dispatch = std::function<async::Task<>(http::Exchange& exchange)>;

async::Task<> ServeSocket(Dispatch dispatch, http::Exchange& exchange);

}  // namespace atl::api::sdk
