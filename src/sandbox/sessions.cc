// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sessions.h"

#include "crypto/bytes.h"
#include "sandbox/agent_request.h"
#include "sandbox/run.h"

namespace atl::sandbox {

async::Task<Result<SessionInfo>> OpenSession(AgentClient& agent, SessionRequest request) {
  CO_TRY(ValidateEnv(request.env));
  if (!request.cwd.starts_with('/')) {
    co_return Fail(Code::kInvalidArgument, "\"cwd\" must be an absolute path", "VALIDATION_FAILED");
  }
  if (request.id.empty()) request.id = "session-" + crypto::RandomHex(6);
  protocol::SessionOpen open{.id = std::move(request.id),
                             .env = agent.EnvironmentOf(request.user, std::move(request.env)),
                             .cwd = std::move(request.cwd),
                             .user = request.user,
                             .timeout_ms = static_cast<uint64_t>(
                                 request.timeout.value_or(std::chrono::milliseconds(0)).count())};
  Result<SessionInfo> info = co_await AskAgent<SessionInfo>(agent.socket_path(), open);
  co_return info;
}

async::Task<Result<std::vector<SessionInfo>>> ListSessions(AgentClient& agent) {
  protocol::SessionList request;
  auto all = co_await ListFromAgent<SessionInfo>(agent.socket_path(), request);
  co_return all;
}

async::Task<Result<void>> CloseSession(AgentClient& agent, std::string id) {
  protocol::SessionClose request{.id = std::move(id)};
  CO_TRY(co_await AskAgent<protocol::Ok>(agent.socket_path(), request));
  co_return Result<void>();
}

}  // namespace atl::sandbox
