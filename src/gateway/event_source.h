// SPDX-License-Identifier: Apache-2.0
// Where OpenCode's events come from: a sandbox that may fall asleep, stop and run again meanwhile.
#pragma once

#include <memory>
#include <string>

#include "gateway/event_stream.h"
#include "opencode/server.h"
#include "sandbox/registry.h"

namespace atl::gateway {

// Whether the path is one of OpenCode's streams of events.
bool IsEventPath(std::string_view path);

// `lease`: what holds the sandbox of `id` awake until the stream has begun; a stream alone does
// not. Null: there is nothing to begin with, it waits for the first connection. What it refers to
// has to outlive the source.
EventSource SourceOfEvents(sandbox::Registry& registry, opencode::Servers& servers, std::string id,
                           std::string iid, std::shared_ptr<sandbox::Sandbox>* lease);

}  // namespace atl::gateway
