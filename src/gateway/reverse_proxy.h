// SPDX-License-Identifier: Apache-2.0
// One request to a port inside a sandbox and its response, each streaming while the other does, or
// a tunnel when both sides agree on another protocol.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>

#include "async/stream.h"
#include "async/task.h"
#include "gateway/event_stream.h"
#include "http/server.h"

namespace atl::gateway {

struct ProxyPolicy {
  uint64_t body_limit = std::numeric_limits<uint64_t>::max();  // 413 past it
  bool strip_cors = false;
  // Passed on in the place of the exchange's own, from which it differs in target and fields alone.
  const http::RequestHead* request = nullptr;
  bool is_preview = false;  // the gateway's own cookie is not the program's to set
  // Given the connection when the upstream keeps it.
  std::function<void(async::Stream)> keep;
  // Not null: the connection has waited, and the request may be repeated. Set to true, without an
  // answer, when the upstream has closed it without one.
  bool* stale = nullptr;
  const EventSource* events = nullptr;  // an event stream outlives its upstream
};

// `upstream`: nobody else's meanwhile. Always answers but for the one case that `stale` has; a
// response that breaks off is cut, so that the client does not take it for whole.
async::Task<> ProxyTo(http::Exchange& exchange, async::Stream upstream, ProxyPolicy policy);

// May `request` be sent again when a connection that has waited turns out to be closed?
bool MayBeRepeated(const http::RequestHead& request);

}  // namespace atl::gateway
