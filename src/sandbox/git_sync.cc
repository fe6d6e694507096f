// SPDX-License-Identifier: Apache-2.0
// A repository and its remotes.
#include <fmt/format.h>

#include <utility>

#include "sandbox/git.h"
#include "sandbox/git_clone.h"
#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMostNamed = 10;

// The files that wait to be resolved, for a message.
async::Task<Result<std::string>> Conflicts(AgentClient& agent, GitPlace place) {
  GitStatusRequest request{.place = std::move(place), .untracked = false};
  CO_ASSIGN(GitStatus status, co_await ReadGitStatus(agent, std::move(request)));
  std::string names;
  size_t count = 0;
  for (const GitChange& change : status.changes) {
    if (!change.conflict || ++count > kMostNamed) continue;
    names += names.empty() ? "" : ", ";
    names += change.path.substr(0, 200);
  }
  if (count > kMostNamed) names += fmt::format(" and {} more", count - kMostNamed);
  co_return names;
}

// What a merge or rebase that failed means, after it was given up if that is wanted.
async::Task<Result<void>> Explain(AgentClient& agent, const GitPullRequest& request,
                                  std::string operation, const Captured& said) {
  CO_ASSIGN(std::string conflicts, co_await Conflicts(agent, request.fetch.place));
  if (conflicts.empty()) {
    std::string words = said.err + "\n" + said.out;
    co_return Unexpected(LocalGitError("git " + operation, words));
  }
  std::string_view left = "they wait to be resolved";
  if (request.abort_on_conflict) {
    GitCommand abort{.arguments = {std::move(operation), "--abort"}, .keep = true};
    CO_TRY(co_await RunGitWell(agent, request.fetch.place, std::move(abort)));
    left = "nothing was changed";
  }
  co_return Fail(Code::kFailedPrecondition,
                 fmt::format("git pull: conflicts in {}: {}", conflicts, left),
                 "GIT_MERGE_CONFLICT");
}

async::Task<Result<void>> Join(AgentClient& agent, const GitPullRequest& request,
                               const GitHead& before, std::string with) {
  bool rebase = request.rebase && !before.commit.empty();
  GitCommand command{.keep = true};
  CO_ASSIGN(command.env, IdentityVariables(request.author));
  if (rebase) {
    command.arguments = {"rebase", "--quiet", std::move(with)};
  } else {
    command.arguments = {"merge", "--quiet", "--no-edit"};
    command.arguments.emplace_back(request.ff_only ? "--ff-only" : "--ff");
    command.arguments.push_back(std::move(with));
  }
  CO_ASSIGN(Captured said, co_await RunGit(agent, request.fetch.place, std::move(command)));
  if (said.outcome.exit_code == 0) co_return Result<void>();
  Result<void> why = co_await Explain(agent, request, rebase ? "rebase" : "merge", said);
  co_return why;
}

Error Rejected(const std::vector<GitPushed>& pushed) {
  Error error{.code = Code::kFailedPrecondition,
              .message = "git push: refused",
              .reason = "GIT_PUSH_REJECTED"};
  for (const GitPushed& one : pushed) {
    if (one.flag == '!') error.message += fmt::format("; {}: {}", one.to, one.summary);
  }
  return error;
}

bool IsRejected(const std::vector<GitPushed>& pushed) {
  for (const GitPushed& one : pushed) {
    if (one.flag == '!') return true;
  }
  return false;
}

async::Task<Result<std::string>> PushedBranch(AgentClient& agent, const GitPushRequest& request) {
  if (!request.branch.empty()) co_return request.branch;
  CO_ASSIGN(GitHead head, co_await ReadGitHead(agent, request.place));
  if (head.branch.empty()) {
    co_return Fail(Code::kFailedPrecondition,
                   "git push: HEAD is detached: say which \"branch\" is to be pushed",
                   "GIT_DETACHED_HEAD");
  }
  if (head.commit.empty()) {
    co_return Fail(Code::kFailedPrecondition, "git push: there is no commit yet", "GIT_NO_COMMITS");
  }
  co_return head.branch;
}

}  // namespace

async::Task<Result<void>> FetchGit(AgentClient& agent, GitFetchRequest request) {
  CO_TRY(ValidateCredentials(request.credentials));
  GitCommand command{.arguments = {"fetch", "--no-progress"},
                     .env = GitEnvironment(request.credentials)};
  if (request.prune) command.arguments.emplace_back("--prune");
  if (request.tags) command.arguments.emplace_back("--tags");
  if (request.depth) command.arguments.push_back(fmt::format("--depth={}", *request.depth));
  if (!request.branch.empty()) {
    CO_TRY(ValidateBranch(request.branch));
    if (request.remote.empty()) request.remote = "origin";
  }
  if (!request.remote.empty()) {
    CO_TRY(ValidateRemote(request.remote));
    command.arguments.insert(command.arguments.end(), {"--end-of-options", request.remote});
  }
  if (!request.branch.empty()) command.arguments.push_back(std::move(request.branch));
  CO_ASSIGN(Captured said, co_await RunGit(agent, std::move(request.place), std::move(command)));
  if (said.outcome.exit_code == 0) co_return Result<void>();
  co_return Unexpected(RemoteGitError("git fetch", said.err, request.remote));
}

async::Task<Result<GitPulled>> PullGit(AgentClient& agent, GitPullRequest request) {
  if (request.rebase && request.ff_only) {
    co_return Fail(Code::kInvalidArgument, "give \"rebase\" or \"ffOnly\"", "VALIDATION_FAILED");
  }
  GitPulled pulled;
  CO_ASSIGN(pulled.before, co_await ReadGitHead(agent, request.fetch.place));
  if (request.fetch.branch.empty() && pulled.before.branch.empty()) {
    co_return Fail(Code::kFailedPrecondition,
                   "git pull: HEAD is detached: say which \"branch\" is to be pulled",
                   "GIT_DETACHED_HEAD");
  }
  if (request.fetch.branch.empty() && !request.fetch.remote.empty()) {
    request.fetch.branch = pulled.before.branch;
  }
  std::string with = request.fetch.branch.empty() ? "@{upstream}" : "FETCH_HEAD";
  CO_TRY(co_await FetchGit(agent, request.fetch));
  if (request.fetch.branch.empty()) {
    GitCommand look{.arguments = {"rev-parse", "--verify", "-q", "@{upstream}"}};
    CO_ASSIGN(Captured upstream, co_await RunGit(agent, request.fetch.place, std::move(look)));
    if (upstream.outcome.exit_code != 0) {
      co_return Fail(Code::kFailedPrecondition,
                     fmt::format("git pull: {} follows no branch of a remote: say which \"branch\" "
                                 "is to be pulled",
                                 pulled.before.branch),
                     "GIT_NO_UPSTREAM");
    }
  }
  CO_TRY(co_await Join(agent, request, pulled.before, std::move(with)));
  CO_ASSIGN(pulled.after, co_await ReadGitHead(agent, request.fetch.place));
  co_return pulled;
}

async::Task<Result<std::vector<GitPushed>>> PushGit(AgentClient& agent, GitPushRequest request) {
  CO_TRY(ValidateCredentials(request.credentials));
  if (request.remote.empty()) request.remote = "origin";
  CO_TRY(ValidateRemote(request.remote));
  CO_ASSIGN(std::string branch, co_await PushedBranch(agent, request));
  CO_TRY(ValidateBranch(branch));
  GitCommand command{.arguments = {"push", "--porcelain", "--no-progress"},
                     .env = GitEnvironment(request.credentials)};
  if (request.set_upstream) command.arguments.emplace_back("--set-upstream");
  if (request.force) command.arguments.emplace_back("--force-with-lease");
  if (request.tags) command.arguments.emplace_back("--tags");
  std::string ref = "refs/heads/" + branch;
  std::string refspec = (request.remove ? "" : ref) + ":" + ref;
  command.arguments.insert(command.arguments.end(),
                           {"--end-of-options", request.remote, std::move(refspec)});
  CO_ASSIGN(Captured said, co_await RunGit(agent, std::move(request.place), std::move(command)));
  CO_ASSIGN(std::vector<GitPushed> pushed, ParseGitPush(said.out));
  if (said.outcome.exit_code == 0) co_return pushed;
  if (IsRejected(pushed)) co_return Unexpected(Rejected(pushed));
  co_return Unexpected(RemoteGitError("git push", said.err, request.remote));
}

}  // namespace atl::sandbox
