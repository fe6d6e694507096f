// SPDX-License-Identifier: Apache-2.0
// One start of OpenCode, from the command line to the first healthy answer.
#pragma once

#include <chrono>
#include <string>

#include "async/task.h"
#include "base/result.h"
#include "opencode/server.h"
#include "sandbox/agent_client.h"

namespace atl::opencode {

// `prepared`: for whom is not known yet, so that shells look for the environment in a file.
sandbox::SpawnSpec ServerSpec(const Options& options, bool prepared = false);

// Tells servers apart that are started differently.
std::string ServerIdentity(const Options& options);

// Connections that are opened while OpenCode loads are accepted and never answered: a probe gives
// up early and tries a new one.
inline constexpr std::chrono::milliseconds kProbeLimit{250};

// Does GET /global/health answer as a healthy OpenCode does, on a connection of its own and in
// time?
async::Task<bool> IsHealthy(sandbox::AgentClient& agent,
                            std::chrono::milliseconds limit = kProbeLimit);

// Has the server been started, and not ended?
async::Task<Result<bool>> IsRunning(sandbox::AgentClient& agent);

// Starts the server, or finds the one that runs, and returns when it is healthy.
async::Task<Result<void>> BringUp(sandbox::AgentClient& agent, const Options& options,
                                  bool prepared = false);

// Ends the server: SIGTERM, and SIGKILL when that does not help.
async::Task<> End(sandbox::AgentClient& agent);
// The same of one that hangs: SIGKILL at once.
async::Task<> Kill(sandbox::AgentClient& agent);

// Returns when the running server has ended, with why.
async::Task<std::string> WaitForEnd(sandbox::AgentClient& agent);

}  // namespace atl::opencode
