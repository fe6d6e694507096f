// SPDX-License-Identifier: Apache-2.0
// The pages that people see while there is nothing else to show. They load nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/server.h"

namespace atl::gateway {

// Does a person wait for a page, not a program for data?
bool IsNavigation(const http::RequestHead& request);

std::string HtmlEscape(std::string_view text);

// 503: OpenCode is starting; the page goes on by itself. `failure`: why the last start failed.
async::Task<> RespondHolding(http::Exchange& exchange, std::string id, std::string failure);
// 404: offers to create the sandbox.
async::Task<> RespondCreate(http::Exchange& exchange, std::string id);
// 502: nothing listens on `port`; `others` does. The page goes on when something does.
async::Task<> RespondNothingOnPort(http::Exchange& exchange, std::string id, uint16_t port,
                                   std::vector<std::string> others);
// A sentence with a status. `retry`: the page loads itself again.
async::Task<> RespondSentence(http::Exchange& exchange, int status, std::string title,
                              std::string sentence, bool retry);

}  // namespace atl::gateway
