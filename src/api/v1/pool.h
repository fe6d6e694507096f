// SPDX-License-Identifier: Apache-2.0
// /v1/pool/…: the warm pool's statistics and calls, named as those of Cloudflare's Sandbox SDK.
#pragma once

#include <string>
#include <vector>

#include "api/seed/actions.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

// `rest`: what follows /v1/pool. Always answers.
async::Task<> HandlePool(const Services& services, std::vector<std::string> rest,
                         http::Exchange& exchange);

}  // namespace atl::api
