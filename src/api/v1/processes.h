// SPDX-License-Identifier: Apache-2.0
// /v1/sandboxes/{id}/processes: programs that run in the background.
#pragma once

#include <span>

#include "api/v1/route.h"
#include "json/writer.h"
#include "sandbox/services.h"

namespace atl::api {

std::span<const Route> ProcessRoutes();

// `service`: what it is when it is one.
void WriteProcess(json::Writer& writer, const sandbox::AgentClient& agent,
                  const sandbox::ProcessInfo& info, const sandbox::Service* service = nullptr);

}  // namespace atl::api
