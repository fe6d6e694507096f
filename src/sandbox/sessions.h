// SPDX-License-Identifier: Apache-2.0
// Shells that last between commands, once for every dialect: opened here, used with
// ExecRequest::session. They live in the sandbox's agent: they outlive this daemon and end with the
// sandbox. Commands of one session run one after the other.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "protocol/exec.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

using protocol::SessionInfo;

struct SessionRequest {
  std::string id;  // empty: a new one
  std::string cwd = "/workspace";
  std::vector<std::pair<std::string, std::string>> env;
  std::string user;
  std::optional<std::chrono::milliseconds> timeout;  // of commands that have none of their own
};

// SESSION_ALREADY_EXISTS (409), VALIDATION_FAILED, USER_NOT_FOUND, AGENT_TOO_OLD.
async::Task<Result<SessionInfo>> OpenSession(AgentClient& agent, SessionRequest request);
async::Task<Result<std::vector<SessionInfo>>> ListSessions(AgentClient& agent);
// Ends it and what runs in it. SESSION_NOT_FOUND (404).
async::Task<Result<void>> CloseSession(AgentClient& agent, std::string id);

}  // namespace atl::sandbox
