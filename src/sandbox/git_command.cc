// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sandbox/files.h"
#include "sandbox/git_clone.h"
#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::milliseconds kGitLimit{600'000};
constexpr size_t kMostPaths = 4096;
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxRevision = 1024;
constexpr size_t kMaxSecret = 4096;
constexpr size_t kMaxKey = 32UL << 10U;

// git asks it with "get" and takes what it prints.
constexpr std::string_view kHelper =
    R"(!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$ATOLL_GIT_USERNAME" )"
    R"("$ATOLL_GIT_PASSWORD"; }; f)";
constexpr std::string_view kSsh =
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=30";
// The agent ends with the command, and the key never becomes a file.
constexpr std::string_view kSshWithKey =
    R"(ssh-agent bash -c 'printf "%s\n" "$ATOLL_GIT_SSH_KEY" | ssh-add -q - && )"
    R"(exec env -u ATOLL_GIT_SSH_KEY ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new )"
    R"(-oConnectTimeout=30 "$@"' ssh)";

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

bool HasControl(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

}  // namespace

Result<void> ValidateCredentials(const GitCredentials& credentials) {
  for (const std::string* text : {&credentials.username, &credentials.password}) {
    if (text->size() > kMaxSecret || HasControl(*text)) {
      return Invalid("\"username\" and \"password\" are of at most 4096 bytes, in one line");
    }
  }
  if (credentials.password.empty() && !credentials.username.empty()) {
    return Invalid("\"username\" goes with a \"password\"");
  }
  if (credentials.ssh_key.size() > kMaxKey) return Invalid("\"sshKey\" has more than 32 KiB");
  if (credentials.ssh_key.find('\0') != std::string::npos) return Invalid("\"sshKey\" has a NUL");
  return {};
}

std::vector<std::pair<std::string, std::string>> GitEnvironment(const GitCredentials& credentials,
                                                                std::string_view protocols) {
  // The messages are read by programs: they must be in English. A prompt would wait for nobody.
  std::vector<std::pair<std::string, std::string>> env{
      {"LC_ALL", "C"},
      {"LANGUAGE", "C"},
      {"GIT_TERMINAL_PROMPT", "0"},
      {"GIT_ASKPASS", "/bin/true"},
      {"SSH_ASKPASS", "/bin/true"},
      {"GCM_INTERACTIVE", "never"},
      {"GIT_EDITOR", "/bin/true"},
      {"GIT_PAGER", "cat"},
      {"GIT_ALLOW_PROTOCOL", std::string(protocols)},
      {"GIT_SSH_VARIANT", "ssh"},
      {"GIT_SSH_COMMAND", std::string(credentials.ssh_key.empty() ? kSsh : kSshWithKey)}};
  if (!credentials.ssh_key.empty()) env.emplace_back("ATOLL_GIT_SSH_KEY", credentials.ssh_key);
  std::vector<std::pair<std::string, std::string>> settings{
      {"core.askPass", ""}, {"http.lowSpeedLimit", "1000"}, {"http.lowSpeedTime", "30"}};
  if (!credentials.password.empty()) {
    // GitHub and GitLab take any name with a token, but none they do not.
    env.emplace_back("ATOLL_GIT_USERNAME",
                     credentials.username.empty() ? "x-access-token" : credentials.username);
    env.emplace_back("ATOLL_GIT_PASSWORD", credentials.password);
    settings.emplace_back("credential.helper", "");  // forgets those that are configured
    settings.emplace_back("credential.helper", std::string(kHelper));
  }
  env.emplace_back("GIT_CONFIG_COUNT", std::to_string(settings.size()));
  for (size_t i = 0; i < settings.size(); ++i) {
    env.emplace_back(fmt::format("GIT_CONFIG_KEY_{}", i), settings[i].first);
    env.emplace_back(fmt::format("GIT_CONFIG_VALUE_{}", i), settings[i].second);
  }
  return env;
}

async::Task<Result<Captured>> RunGit(AgentClient& agent, GitPlace place, GitCommand command) {
  ExecRequest request;
  request.argv = {"git", "--no-pager", "--literal-pathspecs", "-c", "core.quotePath=false"};
  std::ranges::move(command.arguments, std::back_inserter(request.argv));
  CO_ASSIGN(request.cwd, AbsolutePath(place.dir));
  request.user = std::move(place.user);
  request.env = std::move(command.env);
  if (request.env.empty()) request.env = GitEnvironment();
  request.stdin = std::move(command.stdin);
  request.keep = command.keep;
  request.timeout = kGitLimit;
  CO_ASSIGN(auto execution, co_await StartExec(agent, std::move(request)));
  CO_ASSIGN(Captured captured, co_await Capture(*execution, command.limit));
  if (captured.outcome.timed_out) {
    co_return Fail(Code::kTimeout, "git: not done within 10 minutes", "GIT_OPERATION_FAILED");
  }
  if (captured.outcome.out_of_memory) {
    co_return Fail(Code::kResourceExhausted, "git: the sandbox ran out of memory",
                   "GIT_OPERATION_FAILED");
  }
  co_return captured;
}

async::Task<Result<Captured>> RunGitWell(AgentClient& agent, GitPlace place, GitCommand command) {
  std::string operation = "git " + command.arguments.at(0);
  CO_ASSIGN(Captured captured, co_await RunGit(agent, std::move(place), std::move(command)));
  if (captured.outcome.exit_code != 0) {
    co_return Unexpected(LocalGitError(operation, captured.err));
  }
  co_return captured;
}

Result<void> ValidateRevision(std::string_view field, std::string_view revision) {
  if (revision.empty() || revision.size() > kMaxRevision || revision[0] == '-' ||
      HasControl(revision)) {
    return Invalid(fmt::format("\"{}\" names no commit", field));
  }
  return {};
}

Result<void> ValidatePaths(const std::vector<std::string>& paths) {
  if (paths.size() > kMostPaths) {
    return Invalid(fmt::format("\"paths\" has more than {} entries", kMostPaths));
  }
  for (const std::string& path : paths) {
    if (path.empty() || path.size() > kMaxPath) {
      return Invalid("an entry of \"paths\" is empty or too long");
    }
  }
  return {};
}

Result<void> ValidateRemote(std::string_view remote) {
  if (remote.find(':') != std::string_view::npos) return ValidateRepoUrl(remote);
  Result<void> valid = ValidateBranch(remote);
  if (!valid) return Invalid("\"remote\" is neither the name of one nor an URL");
  return {};
}

}  // namespace atl::sandbox
