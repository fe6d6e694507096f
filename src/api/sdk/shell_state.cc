// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/shell_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "sandbox/sessions.h"

namespace atl::api::sdk {
namespace {

// What the SDK says when its user wants no sessions.
constexpr std::string_view kNoSession = "__DISABLE_SESSION__";
constexpr std::string_view kDefaultSession = "default";
constexpr size_t kMostName = 64;
constexpr std::chrono::milliseconds kLookPause{20};
constexpr int kLooks = 250;
constexpr size_t kMostState = 2UL << 20U;
// In a subshell, which changes nothing, and leaves `$?` as it is.
constexpr std::string_view kTellState =
    "( __atoll_r=$?; builtin printf '%s\\0' \"$PWD\"; command -p env -0; builtin exit $__atoll_r )";
// What every shell sets for itself.
constexpr std::array<std::string_view, 4> kOwnNames = {"PWD", "OLDPWD", "SHLVL", "_"};

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool IsVariable(std::string_view name) {
  bool word =
      std::ranges::all_of(name, [](char c) { return IsNameByte(c) && c != '.' && c != '-'; });
  return word && !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
         std::ranges::find(kOwnNames, name) == kOwnNames.end();
}

Result<ShellState> ParseState(std::string_view said) {
  size_t end = said.find('\0');
  if (end == std::string_view::npos || !said.starts_with('/')) {
    return Fail(Code::kInternal, "the session's shell does not say where it is",
                "COMMAND_EXECUTION_ERROR");
  }
  ShellState state;
  state.cwd = said.substr(0, end);
  for (said.remove_prefix(end + 1); !said.empty(); said.remove_prefix(end + 1)) {
    end = said.find('\0');
    if (end == std::string_view::npos) break;
    std::string_view variable = said.substr(0, end);
    size_t equals = variable.find('=');
    if (equals == std::string_view::npos || !IsVariable(variable.substr(0, equals))) continue;
    state.env.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return state;
}

async::Task<Result<ShellState>> Ask(Started started) {
  CO_ASSIGN(auto execution, std::move(started));
  CO_ASSIGN(sandbox::Captured captured, co_await sandbox::Capture(*execution, kMostState));
  if (captured.out_truncated) {
    co_return Fail(Code::kTooLarge,
                   fmt::format("the session's variables have more than {} bytes", kMostState),
                   "COMMAND_EXECUTION_ERROR");
  }
  co_return ParseState(captured.out);
}

sandbox::ExecRequest TellState(std::string session) {
  sandbox::ExecRequest request;
  request.command = kTellState;
  request.cwd.clear();
  request.session = std::move(session);
  return request;
}

}  // namespace

Result<std::string> SessionOf(const json::Object& body) {
  ASSIGN(std::optional<std::string> name, body.OptionalText("sessionId"));
  if (!name) return std::string(kDefaultSession);
  if (*name == kNoSession) return std::string();
  bool valid = !name->empty() && name->size() <= kMostName && name->front() != '.' &&
               std::ranges::all_of(*name, IsNameByte);
  if (valid) return *std::move(name);
  return Fail(Code::kInvalidArgument,
              "the id of a session is 1 to 64 letters, digits, '.', '_' and '-', not '.' first",
              "VALIDATION_FAILED");
}

async::Task<Started> StartInSession(sandbox::AgentClient& agent, sandbox::ExecRequest request) {
  Started started = co_await sandbox::StartExec(agent, request);
  if (started || ReasonOf(started.error()) != "SESSION_NOT_FOUND") co_return started;
  sandbox::SessionRequest session;
  session.id = request.session;
  Result<sandbox::SessionInfo> opened = co_await sandbox::OpenSession(agent, std::move(session));
  if (!opened && ReasonOf(opened.error()) != "SESSION_ALREADY_EXISTS") {
    co_return Unexpected(std::move(opened).error());
  }
  // Another request may have been the first, whose shell is only just being made.
  for (int look = 0; look < kLooks; ++look) {
    started = co_await sandbox::StartExec(agent, request);
    if (started || ReasonOf(started.error()) != "SESSION_NOT_FOUND") break;
    co_await async::Sleep(kLookPause);
  }
  co_return started;
}

async::Task<Result<ShellState>> StateOf(sandbox::AgentClient& agent, std::string session) {
  if (session.empty()) co_return ShellState();
  Started started = co_await StartInSession(agent, TellState(std::move(session)));
  Result<ShellState> state = co_await Ask(std::move(started));
  co_return state;
}

async::Task<Result<std::string>> PathFrom(sandbox::AgentClient& agent, std::string session,
                                          std::string path) {
  if (path.starts_with('/') || session.empty()) co_return path;
  Started started = co_await sandbox::StartExec(agent, TellState(std::move(session)));
  // Where it would begin.
  if (!started && ReasonOf(started.error()) == "SESSION_NOT_FOUND") co_return path;
  CO_ASSIGN(ShellState state, co_await Ask(std::move(started)));
  co_return Joined(state.cwd, path);
}

std::string Joined(std::string_view dir, std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  return fmt::format("{}{}{}", dir, dir.ends_with('/') ? "" : "/", path);
}

}  // namespace atl::api::sdk
