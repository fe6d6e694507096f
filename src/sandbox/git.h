// SPDX-License-Identifier: Apache-2.0
// What can be done with a repository in a sandbox, with the sandbox's own git: once for every
// dialect. What a function takes is sandbox->agent() of an acquired sandbox, which is to be held
// meanwhile. Errors have git's own words and a reason: GIT_REPOSITORY_NOT_FOUND, GIT_REF_NOT_FOUND,
// GIT_BRANCH_NOT_FOUND (404), GIT_LOCAL_CHANGES, GIT_CONFLICT, GIT_MERGE_CONFLICT,
// GIT_PUSH_REJECTED, GIT_NOTHING_TO_COMMIT, GIT_NO_UPSTREAM, GIT_DETACHED_HEAD, GIT_NO_COMMITS,
// GIT_LOCKED, GIT_NOT_FAST_FORWARD, GIT_BRANCH_EXISTS, GIT_BRANCH_NOT_MERGED,
// GIT_BRANCH_CHECKED_OUT (409), GIT_IDENTITY_UNKNOWN (400), GIT_DUBIOUS_OWNERSHIP (403),
// GIT_AUTH_FAILED (401), GIT_NETWORK_ERROR (502), GIT_OPERATION_FAILED.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sandbox/git_command.h"
#include "sandbox/git_output.h"

namespace atl::sandbox {

// What is checked out.
struct GitHead {
  std::string branch;  // empty: HEAD is detached
  std::string commit;  // empty: there is none yet
};
async::Task<Result<GitHead>> ReadGitHead(AgentClient& agent, GitPlace place);

struct GitStatusRequest {
  GitPlace place;
  bool untracked = true;
  bool ignored = false;
};
async::Task<Result<GitStatus>> ReadGitStatus(AgentClient& agent, GitStatusRequest request);

struct GitDiffRequest {
  GitPlace place;
  bool staged = false;  // what a commit would change; else what is not staged
  std::string from;     // a commit: what is different since then
  std::string to;       // another, with `from`: instead of the files that are there
  std::vector<std::string> paths;
  std::optional<int64_t> context;  // lines around each change
  size_t patch_limit = 0;          // bytes of the patch; 0: none of it
};
struct GitDiff {
  GitDiffFiles changed;
  std::string patch;
  bool patch_truncated = false;
};
async::Task<Result<GitDiff>> ReadGitDiff(AgentClient& agent, GitDiffRequest request);

struct GitLogRequest {
  GitPlace place;
  std::string ref;  // a commit or a range; empty: HEAD
  std::vector<std::string> paths;
  size_t limit = 50;
  size_t skip = 0;
};
struct GitLog {
  std::vector<GitCommit> commits;
  bool more = false;
};
// None, and no failure, in a repository without commits.
async::Task<Result<GitLog>> ReadGitLog(AgentClient& agent, GitLogRequest request);

struct GitBranchesRequest {
  GitPlace place;
  bool remote = false;  // those of remotes too
};
struct GitBranches {
  GitHead head;
  std::vector<GitBranch> branches;
};
async::Task<Result<GitBranches>> ListGitBranches(AgentClient& agent, GitBranchesRequest request);

struct GitIdentity {
  std::string name;
  std::string email;
};

struct GitCommitRequest {
  GitPlace place;
  std::string message;
  bool all = false;                // everything that has changed, new files too
  std::vector<std::string> paths;  // of these everything; they are staged first
  bool amend = false;
  bool allow_empty = false;
  GitIdentity author;  // empty: as it is configured
};
struct GitCommitted {
  GitHead head;
  GitCommit commit;
};
async::Task<Result<GitCommitted>> CommitGit(AgentClient& agent, GitCommitRequest request);

struct GitBranchRequest {
  GitPlace place;
  std::string name;
  std::string from;    // a commit; empty: HEAD
  bool force = false;  // a delete: though what it has is nowhere else
};
async::Task<Result<void>> CreateGitBranch(AgentClient& agent, GitBranchRequest request);
async::Task<Result<void>> DeleteGitBranch(AgentClient& agent, GitBranchRequest request);

struct GitCheckoutRequest {
  GitPlace place;
  std::string ref;      // a branch, also one that only a remote has, or a commit
  bool create = false;  // `ref` is a new branch, made at `from`
  std::string from;
  bool detach = false;
  bool force = false;  // what was changed is lost
};
async::Task<Result<GitHead>> CheckOutGit(AgentClient& agent, GitCheckoutRequest request);

struct GitFetchRequest {
  GitPlace place;
  std::string remote;  // empty: the branch's own, or origin
  std::string branch;  // empty: all
  bool prune = false;  // forget branches that the remote has no longer
  bool tags = false;
  std::optional<int64_t> depth;
  GitCredentials credentials;
};
async::Task<Result<void>> FetchGit(AgentClient& agent, GitFetchRequest request);

struct GitPullRequest {
  GitFetchRequest fetch;
  bool rebase = false;
  bool ff_only = false;
  // Conflicts stay in the files as git leaves them, unless this is set.
  bool abort_on_conflict = false;
  GitIdentity author;  // of a merge
};
struct GitPulled {
  GitHead before;
  GitHead after;
};
async::Task<Result<GitPulled>> PullGit(AgentClient& agent, GitPullRequest request);

struct GitPushRequest {
  GitPlace place;
  std::string remote;  // empty: origin
  std::string branch;  // empty: the one that is checked out
  bool set_upstream = false;
  bool force = false;   // unless the remote has moved since it was last looked at
  bool remove = false;  // the branch is deleted there
  bool tags = false;
  GitCredentials credentials;
};
async::Task<Result<std::vector<GitPushed>>> PushGit(AgentClient& agent, GitPushRequest request);

// The variables of an author and committer. VALIDATION_FAILED when only one of both is there.
Result<std::vector<std::pair<std::string, std::string>>> IdentityVariables(
    const GitIdentity& identity);

}  // namespace atl::sandbox
