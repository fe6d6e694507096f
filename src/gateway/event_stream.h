// SPDX-License-Identifier: Apache-2.0
// An event stream that outlives its source: the client's stays open while the sandbox sleeps or is
// stopped, and goes on when it runs again.
#pragma once

#include <functional>

#include "async/stream.h"
#include "http/client.h"
#include "http/server.h"

namespace atl::gateway {

struct EventSource {
  // The response is an event stream and has begun: what is held for the request can be let go.
  std::function<void()> begun;
  // Something happens, and is not only told that it does not.
  std::function<async::Task<>()> news;
  // The source has ended: a new connection to it as soon as there is one, without making one
  // possible. A failure ends the client's stream.
  std::function<async::Task<Result<async::Stream>>()> again;
};

bool IsEventStream(const http::ResponseHead& head);

// Passes events on, whole ones alone, from `upstream` (null: there is none yet) and from what comes
// after it, for which `request` is sent again. The exchange's response has been started. A client
// that hears nothing for long gets comments. Returns when the stream is over for good, and why.
async::Task<Error> PassEvents(http::Exchange& exchange, http::ClientRequest* upstream,
                              http::RequestHead request, const EventSource& source);

}  // namespace atl::gateway
