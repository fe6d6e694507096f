// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/shell_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/shell_quote.h"
#include "crypto/bytes.h"
#include "sandbox/sessions.h"

namespace atl::api::sdk {
namespace {

// What the SDK says when its user wants no sessions.
constexpr std::string_view kNoSession = "__DISABLE_SESSION__";
constexpr std::string_view kDefaultSession = "default";
constexpr size_t kMostName = 128;
constexpr size_t kMostState = 2UL << 20U;
// In a subshell, which changes nothing, and leaves `$?` as it is. No variable of its own is needed,
// for a session may have made any name read-only; what traces and traps say goes elsewhere; and no
// alias is one for a word with a backslash.
constexpr std::string_view kTellState =
    "( { \\builtin set -- \"$?\"; \\builtin pwd >&249; \\builtin printf '\\0' >&249; "
    "\\builtin command -p env -0 >&249; \\builtin exit \"$1\"; } 249>&1 1>/dev/null 2>&1 )";
// Where it is, and a script that makes another shell like it. What traps are set is not for a
// subshell.
constexpr std::string_view kTellAll =
    "( { \\builtin set -- \"$?\"; \\builtin pwd >&249; \\builtin printf '\\0' >&249; "
    "\\builtin shopt -p >&249; \\builtin declare -p >&249; \\builtin declare -f >&249; "
    "\\builtin declare -F >&249; \\builtin alias -p >&249; \\builtin umask -p >&249; "
    "\\builtin set +o >&249; \\builtin exit \"$1\"; } 249>&1 1>/dev/null 2>&1 )";
// Makes itself so from its stdin, and runs its first argument. What cannot be set again, as UID, is
// what it is anyway. The command is an argument until the session's variables are there, and then
// has a name that none of them has. It begins on the first line, for bash counts the lines of
// its messages.
constexpr std::string_view kBeside =
    "builtin set -- \"$1\" \"$(command -p cat)\"; exec 250>&1 251>&2 0</dev/null 1>/dev/null "
    "2>/dev/null; builtin unset -v $(builtin compgen -e); builtin shopt -s expand_aliases; "
    "builtin eval \"$2\"; builtin unset -f __atoll_f || builtin :; "
    "builtin unset -v \"${!__atoll_@}\" || builtin :; NAME=$1; builtin set --; "
    "builtin eval \"$NAME\" 1>&250 2>&251 250>&- 251>&-";
constexpr std::string_view kExport =
    "\n\\builtin export {0}={1} || {{ \\builtin printf 'bash: {0}: readonly variable\\n' >&251; "
    "\\builtin exit 1; }}";
constexpr std::string_view kNameOfCommand = "NAME";
constexpr size_t kNameBytes = 8;

std::string Beside() {
  std::string script(kBeside);
  std::string name = "__atoll_" + crypto::RandomHex(kNameBytes);
  for (size_t at = 0; (at = script.find(kNameOfCommand, at)) != std::string::npos;) {
    script.replace(at, kNameOfCommand.size(), name);
  }
  return script;
}

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

// Where it is, in a line, and behind that what else it has said.
Result<std::pair<std::string_view, std::string_view>> ParsePlace(std::string_view said) {
  size_t end = said.find('\0');
  if (end == std::string_view::npos || end < 2 || !said.starts_with('/')) {
    return Fail(Code::kInternal, "the session's shell does not say where it is",
                "COMMAND_EXECUTION_ERROR");
  }
  return std::pair(said.substr(0, end - 1), said.substr(end + 1));
}

Result<ShellState> ParseState(std::string_view all) {
  ASSIGN(auto place, ParsePlace(all));
  ShellState state;
  state.cwd = place.first;
  std::string_view said = place.second;
  for (size_t end = 0; !said.empty(); said.remove_prefix(end + 1)) {
    end = said.find('\0');
    if (end == std::string_view::npos) break;
    std::string_view variable = said.substr(0, end);
    size_t equals = variable.find('=');
    if (equals == std::string_view::npos || !IsVariable(variable.substr(0, equals))) continue;
    state.env.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return state;
}

async::Task<Result<std::string>> Ask(Started started) {
  CO_ASSIGN(auto execution, std::move(started));
  CO_ASSIGN(sandbox::Captured captured, co_await sandbox::Capture(*execution, kMostState));
  if (captured.out_truncated) {
    co_return Fail(
        Code::kTooLarge,
        fmt::format("the session's variables and functions have more than {} bytes", kMostState),
        "COMMAND_EXECUTION_ERROR");
  }
  co_return std::move(captured.out);
}

sandbox::ExecRequest TellState(std::string session, std::string_view how) {
  sandbox::ExecRequest request;
  request.command = how;
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
              "the id of a session is 1 to 128 letters, digits, '.', '_' and '-', not '.' first",
              "VALIDATION_FAILED");
}

async::Task<Result<ShellState>> StateOf(sandbox::AgentClient& agent, std::string session) {
  if (session.empty()) co_return ShellState();
  Started started =
      co_await sandbox::StartInSession(agent, TellState(std::move(session), kTellState));
  CO_ASSIGN(std::string said, co_await Ask(std::move(started)));
  co_return ParseState(said);
}

async::Task<Result<void>> BeginBeside(sandbox::AgentClient& agent, std::string session,
                                      sandbox::ExecRequest& request) {
  if (session.empty()) {
    request.cwd = Joined(kWorkspace, request.cwd);
    co_return Result<void>();
  }
  Started started =
      co_await sandbox::StartInSession(agent, TellState(std::move(session), kTellAll));
  CO_ASSIGN(std::string said, co_await Ask(std::move(started)));
  CO_ASSIGN(auto place, ParsePlace(said));
  request.cwd = Joined(place.first, request.cwd);
  request.stdin = place.second;
  // Behind the session's own.
  for (const auto& [name, value] : request.env) {
    request.stdin += fmt::format(kExport, name, ShellQuoted(value));
  }
  request.env.clear();
  request.argv = {"bash", "-c", Beside(), "bash", std::move(request.command)};
  request.command.clear();
  co_return Result<void>();
}

async::Task<Result<std::string>> PathFrom(sandbox::AgentClient& agent, std::string session,
                                          std::string path) {
  if (path.starts_with('/') || session.empty()) co_return path;
  Started started = co_await sandbox::StartExec(agent, TellState(std::move(session), kTellState));
  // Where it would begin.
  if (!started && ReasonOf(started.error()) == "SESSION_NOT_FOUND") co_return path;
  CO_ASSIGN(std::string said, co_await Ask(std::move(started)));
  CO_ASSIGN(auto place, ParsePlace(said));
  co_return Joined(place.first, path);
}

std::string Joined(std::string_view dir, std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  return fmt::format("{}{}{}", dir, dir.ends_with('/') ? "" : "/", path);
}

}  // namespace atl::api::sdk
