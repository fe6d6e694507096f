// SPDX-License-Identifier: Apache-2.0
// Looking at a repository. None of it takes a lock that a commit would have to wait for.
#include "sandbox/git.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

constexpr size_t kListLimit = 8UL << 20U;
constexpr size_t kLogLimit = 16UL << 20U;

std::string FirstLine(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

void Append(std::vector<std::string>& arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
}

std::vector<std::pair<std::string, std::string>> Looking() {
  auto env = GitEnvironment();
  env.emplace_back("GIT_OPTIONAL_LOCKS", "0");
  return env;
}

}  // namespace

async::Task<Result<GitHead>> ReadGitHead(AgentClient& agent, GitPlace place) {
  GitHead head;
  GitCommand branch{.arguments = {"symbolic-ref", "--short", "-q", "HEAD"}};
  CO_ASSIGN(Captured said, co_await RunGit(agent, place, std::move(branch)));
  // 1: HEAD is no branch.
  if (said.outcome.exit_code > 1) co_return Unexpected(LocalGitError("git", said.err));
  if (said.outcome.exit_code == 0) head.branch = FirstLine(said.out);
  GitCommand commit{.arguments = {"rev-parse", "--verify", "-q", "HEAD"}};
  CO_ASSIGN(Captured hash, co_await RunGit(agent, std::move(place), std::move(commit)));
  if (hash.outcome.exit_code == 0) head.commit = FirstLine(hash.out);
  co_return head;
}

async::Task<Result<GitStatus>> ReadGitStatus(AgentClient& agent, GitStatusRequest request) {
  GitCommand command{.arguments = {"status", "--porcelain=v2", "--branch", "-z"},
                     .env = Looking(),
                     .limit = kListLimit};
  command.arguments.emplace_back(request.untracked ? "--untracked-files=all"
                                                   : "--untracked-files=no");
  if (request.ignored) command.arguments.emplace_back("--ignored=traditional");
  CO_ASSIGN(Captured captured,
            co_await RunGitWell(agent, std::move(request.place), std::move(command)));
  co_return ParseGitStatus(captured.out, captured.out_truncated);
}

async::Task<Result<GitDiff>> ReadGitDiff(AgentClient& agent, GitDiffRequest request) {
  CO_TRY(ValidatePaths(request.paths));
  if (!request.from.empty()) {
    CO_TRY(ValidateRevision("from", request.from));
  }
  if (!request.to.empty()) {
    CO_TRY(ValidateRevision("to", request.to));
    if (request.from.empty() || request.staged) {
      co_return Fail(Code::kInvalidArgument, "\"to\" goes with \"from\", and not with \"staged\"",
                     "VALIDATION_FAILED");
    }
  }
  std::vector<std::string> which{"--no-color", "--no-ext-diff", "--no-textconv", "--no-relative",
                                 "--find-renames"};
  if (request.staged) which.emplace_back("--cached");
  std::vector<std::string> what{"--end-of-options"};
  if (!request.from.empty()) what.push_back(request.from);
  if (!request.to.empty()) what.push_back(request.to);
  what.emplace_back("--");
  Append(what, request.paths);

  GitDiff diff;
  GitCommand list{
      .arguments = {"diff", "--raw", "--numstat", "-z"}, .env = Looking(), .limit = kListLimit};
  Append(list.arguments, which);
  Append(list.arguments, what);
  CO_ASSIGN(Captured listed, co_await RunGitWell(agent, request.place, std::move(list)));
  CO_ASSIGN(diff.changed, ParseGitDiff(listed.out, listed.out_truncated));
  if (request.patch_limit == 0) co_return diff;

  GitCommand patch{.arguments = {"diff", "--patch", "--src-prefix=a/", "--dst-prefix=b/"},
                   .env = Looking(),
                   .limit = request.patch_limit};
  if (request.context) patch.arguments.push_back(fmt::format("--unified={}", *request.context));
  Append(patch.arguments, which);
  Append(patch.arguments, what);
  CO_ASSIGN(Captured text, co_await RunGitWell(agent, std::move(request.place), std::move(patch)));
  diff.patch = std::move(text.out);
  diff.patch_truncated = text.out_truncated;
  co_return diff;
}

async::Task<Result<GitLog>> ReadGitLog(AgentClient& agent, GitLogRequest request) {
  CO_TRY(ValidatePaths(request.paths));
  if (request.ref.empty()) {
    CO_ASSIGN(GitHead head, co_await ReadGitHead(agent, request.place));
    if (head.commit.empty()) co_return GitLog();
  } else {
    CO_TRY(ValidateRevision("ref", request.ref));
  }
  size_t limit = std::clamp<size_t>(request.limit, 1, kMostCommits);
  GitCommand command{
      .arguments = {"log", "-z", "--no-color", "--no-show-signature", "--decorate=full",
                    "--encoding=UTF-8", fmt::format("--max-count={}", limit + 1),
                    fmt::format("--skip={}", request.skip), std::string(kGitLogFormat),
                    "--no-patch", "--end-of-options"},
      .env = Looking(),
      .limit = kLogLimit};
  command.arguments.push_back(request.ref.empty() ? "HEAD" : request.ref);
  command.arguments.emplace_back("--");
  Append(command.arguments, request.paths);
  CO_ASSIGN(Captured captured,
            co_await RunGitWell(agent, std::move(request.place), std::move(command)));
  GitLog log;
  CO_ASSIGN(log.commits, ParseGitLog(captured.out, captured.out_truncated, limit + 1));
  log.more = captured.out_truncated || log.commits.size() > limit;
  if (log.commits.size() > limit) log.commits.resize(limit);
  co_return log;
}

async::Task<Result<GitBranches>> ListGitBranches(AgentClient& agent, GitBranchesRequest request) {
  GitBranches all;
  CO_ASSIGN(all.head, co_await ReadGitHead(agent, request.place));
  GitCommand command{.arguments = {"for-each-ref", fmt::format("--count={}", kMostBranches),
                                   std::string(kGitBranchFormat), "refs/heads"},
                     .env = Looking(),
                     .limit = kListLimit};
  if (request.remote) command.arguments.emplace_back("refs/remotes");
  CO_ASSIGN(Captured captured,
            co_await RunGitWell(agent, std::move(request.place), std::move(command)));
  CO_ASSIGN(all.branches, ParseGitBranches(captured.out, captured.out_truncated));
  co_return all;
}

}  // namespace atl::sandbox
