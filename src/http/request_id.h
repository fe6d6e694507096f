// SPDX-License-Identifier: Apache-2.0
// The name of a request: in its answer, in the log, and in what a client's own tracing shows.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace atl::http {

// The trace id of a valid `traceparent` (W3C Trace Context, level 1), else the client's own
// `X-Request-Id` (1 to 128 of letters, digits and "._-"), else 32 random hex digits.
std::string ChooseRequestId(const RequestHead& request);

// The trace id of `traceparent`, or "".
std::string_view TraceId(std::string_view traceparent);

}  // namespace atl::http
