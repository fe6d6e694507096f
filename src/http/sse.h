// SPDX-License-Identifier: Apache-2.0
// Server-sent events (WHATWG HTML, 9.2): a streamed response whose events go out as they are made.
#pragma once

#include <string>
#include <string_view>

#include "http/server.h"

namespace atl::http {

// Head of an event stream that no proxy buffers.
ResponseHead EventStreamHead();

// One unnamed event. `json` has no line breaks.
std::string EventText(std::string_view json);

}  // namespace atl::http
