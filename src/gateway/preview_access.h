// SPDX-License-Identifier: Apache-2.0
// The signature of a preview URL: it arrives as a parameter, goes on as a cookie of that host
// alone, and is the gateway's, so that the programs inside never see it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace atl::gateway {

// Those that a request shows: in its URL, in its cookies.
std::vector<std::string> ShownSignatures(const http::RequestHead& request);

bool HasSignatureInUrl(const http::RequestHead& request);

// The request without any.
http::RequestHead WithoutSignatures(const http::RequestHead& request);

// 302 to the same URL without the signature, which a cookie carries from then on for `seconds`.
http::ResponseHead SignatureToCookie(const http::RequestHead& request, int64_t seconds);

// Programs inside neither set nor delete the gateway's cookie.
void RemoveSignatureCookies(http::Headers& response);

}  // namespace atl::gateway
