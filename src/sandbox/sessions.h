// SPDX-License-Identifier: Apache-2.0
// Shells that last between commands, once for every dialect: opened here, used with
// ExecRequest::session. They live in the sandbox's agent: they outlive this daemon and end with the
// sandbox. Commands of one session run one after the other.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "protocol/exec.h"
#include "sandbox/agent_client.h"
#include "sandbox/exec.h"
#include "sandbox/terminal.h"

namespace atl::sandbox {

using protocol::SessionInfo;

struct SessionRequest {
  std::string id;  // empty: a new one
  std::string cwd = "/workspace";
  std::vector<std::pair<std::string, std::string>> env;
  std::string user;
  std::optional<std::chrono::milliseconds> timeout;  // of commands that have none of their own
};

// SESSION_ALREADY_EXISTS (409), VALIDATION_FAILED, USER_NOT_FOUND, TOO_MANY_SESSIONS (503),
// AGENT_TOO_OLD.
async::Task<Result<SessionInfo>> OpenSession(AgentClient& agent, SessionRequest request);
async::Task<Result<std::vector<SessionInfo>>> ListSessions(AgentClient& agent);
// Ends it and what runs in it. SESSION_NOT_FOUND (404).
async::Task<Result<void>> CloseSession(AgentClient& agent, std::string id);

// StartExec in `request.session`, which its first use opens. Sessions that were opened so make room
// for others: the one that has been idle for longest is closed, and its next use opens it anew.
async::Task<Result<std::unique_ptr<Execution>>> StartInSession(AgentClient& agent,
                                                               ExecRequest request);

// Makes `spec` a terminal that begins where the session `spec.name` is, as its user and with the
// variables that its shell was started with. Without such a session nothing changes.
async::Task<> BeginAsSession(AgentClient& agent, TerminalSpec& spec);
// Both the session and the terminal of this name. SESSION_NOT_FOUND when there is neither.
async::Task<Result<void>> CloseSessionAndTerminal(AgentClient& agent, std::string id);

}  // namespace atl::sandbox
