// SPDX-License-Identifier: Apache-2.0
// May the page that sends this request talk to this host? Sibling subdomains belong to other
// people's code: same-site is not good enough.
#pragma once

#include <string_view>

#include "base/result.h"
#include "gateway/gateway.h"
#include "http/message.h"

namespace atl::gateway {

// Failures are kPermissionDenied. Allowed: what no browser sends (no Origin, no Sec-Fetch-Site),
// the host's own pages, top-level navigation by GET from anywhere, and, between ports of one
// sandbox, each other's pages.
Result<void> CheckOrigin(const http::RequestHead& request, const Route& route,
                         std::string_view domain);

}  // namespace atl::gateway
