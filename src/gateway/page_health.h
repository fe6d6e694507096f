// SPDX-License-Identifier: Apache-2.0
// The question that OpenCode's page asks when it loads and every ten seconds after: is there a
// server? It gives up after 5 s and takes silence for another kind of server, and it asks whether
// or not somebody looks. So the daemon answers while OpenCode cannot: whatever the page wants of it
// is held until it can.
#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace atl::gateway {

// Whether a page of this very host sends it, not a person or a program.
bool IsFromPage(const http::RequestHead& request);

// Whether it is that question, and a page's.
bool IsPageHealth(const http::RequestHead& request);

// What a healthy OpenCode answers to it.
std::string HealthyAnswer(std::string_view path);

}  // namespace atl::gateway
