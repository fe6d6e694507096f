// SPDX-License-Identifier: Apache-2.0
// A command in a sandbox as a stream of events. It ends with its client.
#pragma once

#include <memory>

#include "async/task.h"
#include "http/server.h"
#include "sandbox/registry.h"
#include "sandbox/run.h"

namespace atl::api {

// Always answers: 4xx when the request cannot be run, otherwise the stream.
async::Task<> StreamRun(http::Exchange& exchange, std::shared_ptr<sandbox::Sandbox> sandbox,
                        sandbox::RunRequest request);

}  // namespace atl::api
