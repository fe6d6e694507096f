// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sessions.h"

#include <algorithm>
#include <utility>

#include "crypto/bytes.h"
#include "sandbox/agent_request.h"
#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::milliseconds kLookPause{20};
constexpr int kLooks = 250;
constexpr int kMostOpened = 5;
constexpr std::chrono::milliseconds kTellLimit{5'000};
constexpr size_t kMostTold = 1UL << 20U;
// What the shell was started with, then where it is. It may be busy, so it is not asked itself.
constexpr std::string_view kTellPlace = "cat \"/proc/$1/environ\" && cd \"/proc/$1/cwd\" && pwd -P";

Result<protocol::SessionOpen> ToOpen(const AgentClient& agent, SessionRequest request) {
  TRY(ValidateEnv(request.env));
  if (!request.cwd.starts_with('/')) {
    return Fail(Code::kInvalidArgument, "\"cwd\" must be an absolute path", "VALIDATION_FAILED");
  }
  if (request.id.empty()) request.id = "session-" + crypto::RandomHex(6);
  auto env = agent.EnvironmentOf(request.user, std::move(request.env));
  auto timeout = request.timeout.value_or(std::chrono::milliseconds(0));
  return protocol::SessionOpen{.id = std::move(request.id),
                               .env = std::move(env),
                               .cwd = std::move(request.cwd),
                               .user = std::move(request.user),
                               .timeout_ms = static_cast<uint64_t>(timeout.count())};
}

async::Task<Result<SessionInfo>> UseSession(AgentClient& agent, std::string id) {
  CO_ASSIGN(protocol::SessionOpen open, ToOpen(agent, SessionRequest{.id = std::move(id)}));
  protocol::SessionUse use{.session = std::move(open)};
  Result<SessionInfo> info = co_await AskAgent<SessionInfo>(agent.socket_path(), use);
  if (info || info.error().reason != "AGENT_TOO_OLD") co_return info;
  info = co_await AskAgent<SessionInfo>(agent.socket_path(), use.session);
  co_return info;
}

// Variables that the sandbox has anyway are not repeated.
void TakePlace(const AgentClient& agent, std::string_view told, TerminalSpec& spec) {
  auto base = agent.EnvironmentOf(spec.user, {});
  std::vector<std::pair<std::string, std::string>> env;
  for (size_t end = told.find('\0'); end != std::string_view::npos; end = told.find('\0')) {
    std::string_view one = told.substr(0, end);
    told.remove_prefix(end + 1);
    size_t equals = one.find('=');
    if (equals == std::string_view::npos) continue;
    std::pair variable(std::string(one.substr(0, equals)), std::string(one.substr(equals + 1)));
    if (std::ranges::find(base, variable) != base.end()) continue;
    if (ValidateEnv({variable})) env.push_back(std::move(variable));
  }
  spec.env.insert(spec.env.begin(), env.begin(), env.end());
  if (told.starts_with('/') && told.ends_with('\n')) spec.cwd = told.substr(0, told.size() - 1);
}

}  // namespace

async::Task<Result<SessionInfo>> OpenSession(AgentClient& agent, SessionRequest request) {
  CO_ASSIGN(protocol::SessionOpen open, ToOpen(agent, std::move(request)));
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

async::Task<Result<std::unique_ptr<Execution>>> StartInSession(AgentClient& agent,
                                                               ExecRequest request) {
  Result<std::unique_ptr<Execution>> started = co_await StartExec(agent, request);
  int opens = 0;
  for (int look = 0; look < kLooks; ++look) {
    if (started || ReasonOf(started.error()) != "SESSION_NOT_FOUND") break;
    Result<SessionInfo> opened = co_await UseSession(agent, request.session);
    if (!opened && ReasonOf(opened.error()) != "SESSION_ALREADY_EXISTS") {
      co_return Unexpected(std::move(opened).error());
    }
    if (opened && ++opens > kMostOpened) {
      co_return Fail(Code::kResourceExhausted,
                     "the session is closed for others whenever it has been opened",
                     "TOO_MANY_SESSIONS");
    }
    // Another request may have been the first, whose shell is only just being made; or this one has
    // made room before it was used.
    if (!opened || opens > 1) co_await async::Sleep(kLookPause);
    started = co_await StartExec(agent, request);
  }
  co_return started;
}

async::Task<> BeginAsSession(AgentClient& agent, TerminalSpec& spec) {
  Result<std::vector<SessionInfo>> all = co_await ListSessions(agent);
  if (!all) co_return;  // an agent that has no sessions
  auto session = std::ranges::find(*all, spec.name, &SessionInfo::id);
  if (session == all->end()) co_return;
  spec.user = session->user;
  spec.of_user = !spec.user.empty();
  if (session->cwd.starts_with('/')) spec.cwd = session->cwd;
  ExecRequest ask;
  ask.argv = {"sh", "-c", std::string(kTellPlace), "sh", std::to_string(session->pid)};
  ask.cwd = "/";
  ask.user = spec.user;
  ask.timeout = kTellLimit;
  auto execution = co_await StartExec(agent, std::move(ask));
  if (!execution) co_return;
  Result<Captured> told = co_await Capture(**execution, kMostTold);
  if (told && !told->out_truncated) TakePlace(agent, told->out, spec);
}

async::Task<Result<void>> CloseSessionAndTerminal(AgentClient& agent, std::string id) {
  Result<void> terminal = co_await agent.CloseTerminal(id);
  Result<void> session = co_await CloseSession(agent, std::move(id));
  if (terminal && !session && ReasonOf(session.error()) == "SESSION_NOT_FOUND") session = {};
  co_return session;
}

}  // namespace atl::sandbox
