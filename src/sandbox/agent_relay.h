// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "async/stream.h"
#include "sandbox/agent_connection.h"

namespace atl::sandbox {

// Where descriptors cannot travel: a stream whose bytes go through `connection` as kRelay frames.
Result<async::Stream> StartRelay(const async::Executor& executor,
                                 std::unique_ptr<AgentConnection> connection);

}  // namespace atl::sandbox
