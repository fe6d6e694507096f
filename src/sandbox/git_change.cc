// SPDX-License-Identifier: Apache-2.0
// Changing a repository, without its remotes.
#include <fmt/format.h>

#include <utility>

#include "sandbox/git.h"
#include "sandbox/git_clone.h"
#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxMessage = 1UL << 20U;
constexpr size_t kMaxName = 1024;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

// What git asks for in a mail's head: neither of both may end it.
bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName &&
         text.find_first_of(std::string_view("<>\n\r\0", 5)) == std::string_view::npos;
}

async::Task<Result<void>> Stage(AgentClient& agent, const GitCommitRequest& request) {
  GitCommand add{.arguments = {"add", "--all"}, .keep = true};
  if (!request.all) {
    add.arguments.emplace_back("--");
    add.arguments.insert(add.arguments.end(), request.paths.begin(), request.paths.end());
  }
  Result<Captured> added = co_await RunGitWell(agent, request.place, std::move(add));
  if (added) co_return Result<void>();
  Error error = std::move(added).error();
  if (error.reason == "GIT_REF_NOT_FOUND") error.reason = "FILE_NOT_FOUND";
  co_return Unexpected(std::move(error));
}

Error CommitError(const Captured& said) {
  for (std::string_view words : {"nothing to commit", "nothing added to commit",
                                 "no changes added to commit", "would make\nit empty"}) {
    if (said.out.find(words) == std::string::npos && said.err.find(words) == std::string::npos) {
      continue;
    }
    return {.code = Code::kFailedPrecondition,
            .message = "git commit: nothing that is staged differs from the last commit",
            .reason = "GIT_NOTHING_TO_COMMIT"};
  }
  return LocalGitError("git commit", said.err.empty() ? said.out : said.err);
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> IdentityVariables(
    const GitIdentity& identity) {
  auto env = GitEnvironment();
  if (identity.name.empty() && identity.email.empty()) return env;
  if (!IsName(identity.name) || !IsName(identity.email)) {
    return Invalid("\"author\" has a \"name\" and an \"email\", of one line and without < and >");
  }
  for (std::string_view role : {"AUTHOR", "COMMITTER"}) {
    env.emplace_back(fmt::format("GIT_{}_NAME", role), identity.name);
    env.emplace_back(fmt::format("GIT_{}_EMAIL", role), identity.email);
  }
  return env;
}

async::Task<Result<GitCommitted>> CommitGit(AgentClient& agent, GitCommitRequest request) {
  if (request.message.empty() || request.message.size() > kMaxMessage) {
    co_return Invalid("\"message\" has 1 byte to 1 MiB");
  }
  if (request.all && !request.paths.empty()) co_return Invalid("give \"all\" or \"paths\"");
  CO_TRY(ValidatePaths(request.paths));
  GitCommand commit{
      .arguments = {"commit", "--file=-"}, .stdin = std::move(request.message), .keep = true};
  CO_ASSIGN(commit.env, IdentityVariables(request.author));
  if (request.amend) commit.arguments.emplace_back("--amend");
  if (request.allow_empty) commit.arguments.emplace_back("--allow-empty");
  if (request.all || !request.paths.empty()) {
    CO_TRY(co_await Stage(agent, request));
  }
  CO_ASSIGN(Captured said, co_await RunGit(agent, request.place, std::move(commit)));
  if (said.outcome.exit_code != 0) co_return Unexpected(CommitError(said));
  GitCommitted committed;
  CO_ASSIGN(committed.head, co_await ReadGitHead(agent, request.place));
  GitLogRequest last{.place = std::move(request.place), .limit = 1};
  CO_ASSIGN(GitLog log, co_await ReadGitLog(agent, std::move(last)));
  if (log.commits.empty()) {
    co_return Fail(Code::kBadGateway, "git commit: there is no commit", "GIT_OPERATION_FAILED");
  }
  committed.commit = std::move(log.commits.front());
  co_return committed;
}

async::Task<Result<void>> CreateGitBranch(AgentClient& agent, GitBranchRequest request) {
  CO_TRY(ValidateBranch(request.name));
  GitCommand command{.arguments = {"branch", "--end-of-options", std::move(request.name)},
                     .keep = true};
  if (!request.from.empty()) {
    CO_TRY(ValidateRevision("from", request.from));
    command.arguments.push_back(std::move(request.from));
  }
  CO_TRY(co_await RunGitWell(agent, std::move(request.place), std::move(command)));
  co_return Result<void>();
}

async::Task<Result<void>> DeleteGitBranch(AgentClient& agent, GitBranchRequest request) {
  CO_TRY(ValidateBranch(request.name));
  GitCommand command{.arguments = {"branch", request.force ? "-D" : "-d", "--end-of-options",
                                   std::move(request.name)},
                     .keep = true};
  CO_TRY(co_await RunGitWell(agent, std::move(request.place), std::move(command)));
  co_return Result<void>();
}

async::Task<Result<GitHead>> CheckOutGit(AgentClient& agent, GitCheckoutRequest request) {
  GitCommand command{.arguments = {"checkout", "--quiet"}, .keep = true};
  if (request.force) command.arguments.emplace_back("--force");
  if (request.create) {
    CO_TRY(ValidateBranch(request.ref));
    command.arguments.insert(command.arguments.end(), {"-b", std::move(request.ref)});
    if (!request.from.empty()) {
      CO_TRY(ValidateRevision("from", request.from));
      command.arguments.push_back(std::move(request.from));
    }
  } else {
    CO_TRY(ValidateRevision("ref", request.ref));
    if (request.detach) command.arguments.emplace_back("--detach");
    command.arguments.push_back(std::move(request.ref));
  }
  // Nothing behind it: what stands before is no file.
  command.arguments.emplace_back("--");
  CO_TRY(co_await RunGitWell(agent, request.place, std::move(command)));
  Result<GitHead> head = co_await ReadGitHead(agent, std::move(request.place));
  co_return head;
}

}  // namespace atl::sandbox
