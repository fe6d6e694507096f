// SPDX-License-Identifier: Apache-2.0
// One run of a sandbox's own git. Never through a shell: what comes from outside is an argument
// that cannot be an option, stands behind "--", or is a variable.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/exec.h"

namespace atl::sandbox {

// Who one is to a server. They are variables of this one run: in no file, no argument and no URL.
struct GitCredentials {
  std::string username;
  std::string password;  // or a token
  std::string ssh_key;   // a private key without a passphrase
};
Result<void> ValidateCredentials(const GitCredentials& credentials);

// What may be a remote: a directory of the sandbox, too, but nothing that runs programs ("ext::").
inline constexpr std::string_view kGitProtocols = "http:https:ssh:file";

std::vector<std::pair<std::string, std::string>> GitEnvironment(
    const GitCredentials& credentials = {}, std::string_view protocols = kGitProtocols);

struct GitPlace {
  std::string dir = "/workspace";
  std::string user;  // as of an ExecRequest
};

struct GitCommand {
  std::vector<std::string> arguments;
  std::string stdin;
  std::vector<std::pair<std::string, std::string>> env;
  size_t limit = 64UL << 10U;  // of what is taken of its output
  // It changes the repository: it goes on when nobody waits for it any more.
  bool keep = false;
};
// Whatever it exits with, but for the time limit.
async::Task<Result<Captured>> RunGit(AgentClient& agent, GitPlace place, GitCommand command);
// A failure to exit with 0 is LocalGitError.
async::Task<Result<Captured>> RunGitWell(AgentClient& agent, GitPlace place, GitCommand command);

// A commit as git-rev-parse understands it, or a range; no option. VALIDATION_FAILED.
Result<void> ValidateRevision(std::string_view field, std::string_view revision);
// Paths below the directory, or absolute ones.
Result<void> ValidatePaths(const std::vector<std::string>& paths);
// A remote's name, or an URL that ValidateRepoUrl lets through.
Result<void> ValidateRemote(std::string_view remote);

}  // namespace atl::sandbox
