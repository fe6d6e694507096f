// SPDX-License-Identifier: Apache-2.0
// What of a message's head passes through the gateway. Framing never does: both sides make their
// own.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace atl::gateway {

// The fields for one connection only (RFC 9110, 7.6.1), those that Connection names included, and
// the framing.
void RemoveHopByHop(http::Headers& headers);

// `set_cookie` without its Domain attributes: a cookie belongs to one sandbox's host alone.
std::string StripCookieDomain(std::string_view set_cookie);

// Asks `request` for a protocol switch that can be tunnelled (HTTP/1.1, no body)?
bool IsUpgrade(const http::RequestHead& request);

// The head for the program inside. `peer`: the client's "ip:port".
http::RequestHead UpstreamHead(const http::RequestHead& request, std::string_view peer,
                               bool upgrade);

// The head for the client, Content-Length as the upstream's framing says. `strip_cors`: without
// Access-Control-*.
http::ResponseHead DownstreamHead(http::ResponseHead response, std::string_view request_method,
                                  bool strip_cors);

// The 101 head for the client.
http::ResponseHead UpgradeHead(http::ResponseHead response);

}  // namespace atl::gateway
