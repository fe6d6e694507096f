// SPDX-License-Identifier: Apache-2.0
#include "api/v1/git.h"

#include <utility>

#include "api/v1/answers/git.h"
#include "api/v1/exec.h"
#include "api/v1/file_json.h"
#include "api/v1/git_json.h"

namespace atl::api {
namespace {

template <class Request, class Answer>
using Act = async::Task<Result<Answer>> (*)(sandbox::AgentClient&, Request);

template <class Request, class Answer>
async::Task<> ActInto(sandbox::AgentClient& agent, Act<Request, Answer> act, Request request,
                      Result<Answer>& result) {
  result = co_await act(agent, std::move(request));
}

// Does `act` in the sandbox, as long as the client waits for it.
template <class Request, class Answer>
async::Task<Result<Answer>> ActFor(const Services& services, std::string id,
                                   http::Exchange& exchange, Request request,
                                   Act<Request, Answer> act) {
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<Answer> result = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(ActInto(sandbox->agent(), act, std::move(request), result),
                       exchange.WaitForHangup());
  co_return result;
}

template <class Request>
async::Task<Result<Request>> ReadRequest(http::Exchange& exchange,
                                         Result<Request> (*parse)(const json::Object&)) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  co_return parse(body);
}

template <class Request, class Answer>
async::Task<Result<std::string>> Do(const Services& services, std::string id,
                                    http::Exchange& exchange,
                                    Result<Request> (*parse)(const json::Object&),
                                    Act<Request, Answer> act,
                                    std::string (*render)(const Answer&)) {
  CO_ASSIGN(Request request, co_await ReadRequest(exchange, parse));
  CO_ASSIGN(Answer answer,
            co_await ActFor(services, std::move(id), exchange, std::move(request), act));
  co_return render(answer);
}

// A handler of what has a body, is done by a function, and has an answer.
template <auto kParse, auto kAct, auto kRender>
async::Task<> Handle(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json =
      co_await Do(services, std::move(values.at(0)), exchange, kParse, kAct, kRender);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> RespondDone(http::Exchange& exchange, Result<void> done) {
  if (done) {
    co_await RespondNothing(exchange);
  } else {
    co_await http::RespondError(exchange, std::move(done).error());
  }
}

template <auto kParse, auto kAct>
async::Task<> HandleSilent(const Services& services, Values values, http::Exchange& exchange) {
  auto request = co_await ReadRequest(exchange, kParse);
  if (!request) {
    co_await http::RespondError(exchange, std::move(request).error());
    co_return;
  }
  Result<void> done =
      co_await ActFor(services, std::move(values.at(0)), exchange, *std::move(request), kAct);
  co_await RespondDone(exchange, std::move(done));
}

sandbox::GitPlace PlaceIn(const http::RequestHead& request) {
  sandbox::GitPlace place{.user = Query(request, "user")};
  if (std::string dir = Query(request, "dir"); !dir.empty()) place.dir = std::move(dir);
  return place;
}

async::Task<> ListBranches(const Services& services, Values values, http::Exchange& exchange) {
  sandbox::GitBranchesRequest request{.place = PlaceIn(exchange.request()),
                                      .remote = QueryFlag(exchange.request(), "remote")};
  Result<sandbox::GitBranches> branches = co_await ActFor(
      services, std::move(values.at(0)), exchange, std::move(request), sandbox::ListGitBranches);
  Result<std::string> json;
  if (branches) {
    json = GitBranchesJson(*branches);
  } else {
    json = Unexpected(std::move(branches).error());
  }
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> DeleteBranch(const Services& services, Values values, http::Exchange& exchange) {
  sandbox::GitBranchRequest request{.place = PlaceIn(exchange.request()),
                                    .name = std::move(values.at(1)),
                                    .force = QueryFlag(exchange.request(), "force")};
  Result<void> done = co_await ActFor(services, std::move(values.at(0)), exchange,
                                      std::move(request), sandbox::DeleteGitBranch);
  co_await RespondDone(exchange, std::move(done));
}

constexpr Field kDir{.name = "dir",
                     .kind = Kind::kPath,
                     .about = "In the repository; /workspace when it is not there."};
constexpr Field kUser{.name = "user", .about = "As whom; root when it is not there."};
constexpr Field kPaths{
    .name = "paths", .kind = Kind::kTextList, .about = "Files and directories, no patterns."};
constexpr Field kUsername{.name = "username", .about = "Of the server; any with a token."};
constexpr Field kPassword{.name = "password",
                          .about = "Or a token. For this call alone: it is kept nowhere."};
constexpr Field kSshKey{.name = "sshKey", .about = "A private key without passphrase, the same."};
constexpr Field kAuthor{.name = "author",
                        .kind = Kind::kObject,
                        .about = "{\"name\",\"email\"}; what is configured when it is not there."};
constexpr Field kRemote{.name = "remote", .about = "Its name, or an URL; origin as a rule."};
constexpr Field kDepth{
    .name = "depth", .kind = Kind::kInteger, .about = "Commits.", .min = 1, .max = 2'147'483'647};

constexpr Field kCloneFields[] = {
    {.name = "repo", .about = "An URL: https, http or ssh, or user@host:path.", .required = true},
    {.name = "branch"},
    {.name = "dir", .about = "The repository's name below /workspace when it is not there."},
    kDepth,
    {.name = "filter", .about = "blob:none, tree:0 or blob:limit=1m: the rest when it is needed."},
    {.name = "sparse",
     .kind = Kind::kTextList,
     .about = "Only these directories, and the files beside them."},
    kUsername,
    kPassword,
    kSshKey,
    {.name = "timeoutMs",
     .kind = Kind::kInteger,
     .about = "Then it is given up; 10 minutes.",
     .min = 1,
     .max = static_cast<double>(kMaxExecMs)},
    kUser,
};
constexpr Field kStatusFields[] = {
    kDir,
    {.name = "untracked", .kind = Kind::kBoolean, .about = "Those too; true."},
    {.name = "ignored", .kind = Kind::kBoolean},
    kUser,
};
constexpr Field kDiffFields[] = {
    kDir,
    {.name = "staged", .kind = Kind::kBoolean, .about = "What a commit would change."},
    {.name = "from", .about = "A commit to compare with."},
    {.name = "to", .about = "Another, instead of the files that are there."},
    kPaths,
    {.name = "context", .kind = Kind::kInteger, .about = "Lines; 3.", .min = 0, .max = 1000},
    {.name = "patch", .kind = Kind::kBoolean, .about = "The changes themselves; true."},
    {.name = "maxPatchBytes",
     .kind = Kind::kInteger,
     .about = "1 MiB.",
     .min = 1,
     .max = 16'777'216},
    kUser,
};
constexpr Field kLogFields[] = {
    kDir,
    {.name = "ref", .about = "A commit or a range; HEAD when it is not there."},
    kPaths,
    {.name = "limit",
     .kind = Kind::kInteger,
     .about = "50.",
     .min = 1,
     .max = sandbox::kMostCommits},
    {.name = "skip", .kind = Kind::kInteger, .min = 0, .max = 100'000'000},
    kUser,
};
constexpr Field kCommitFields[] = {
    kDir,
    {.name = "message", .required = true},
    {.name = "all", .kind = Kind::kBoolean, .about = "Everything that has changed, new files too."},
    {.name = "paths", .kind = Kind::kTextList, .about = "What is staged first."},
    {.name = "amend", .kind = Kind::kBoolean},
    {.name = "allowEmpty", .kind = Kind::kBoolean},
    kAuthor,
    kUser,
};
constexpr Field kBranchFields[] = {
    kDir,
    {.name = "name", .required = true},
    {.name = "from", .about = "A commit; HEAD when it is not there."},
    kUser,
};
constexpr Field kCheckoutFields[] = {
    kDir,
    {.name = "ref", .about = "A branch, also of a remote, or a commit.", .required = true},
    {.name = "create", .kind = Kind::kBoolean, .about = "It is a new branch."},
    {.name = "from", .about = "Where that begins."},
    {.name = "detach", .kind = Kind::kBoolean, .about = "The commit, not the branch."},
    {.name = "force", .kind = Kind::kBoolean, .about = "What was changed is lost."},
    kUser,
};
constexpr Field kFetchFields[] = {
    kDir,
    kRemote,
    {.name = "branch", .about = "All when it is not there."},
    {.name = "prune", .kind = Kind::kBoolean, .about = "Forget what the remote has no longer."},
    {.name = "tags", .kind = Kind::kBoolean},
    kDepth,
    kUsername,
    kPassword,
    kSshKey,
    kUser,
};
constexpr Field kPullFields[] = {
    kDir,
    kRemote,
    {.name = "branch", .about = "The one that the current branch follows when it is not there."},
    {.name = "rebase", .kind = Kind::kBoolean, .about = "Instead of a merge."},
    {.name = "ffOnly", .kind = Kind::kBoolean, .about = "No merge."},
    {.name = "abortOnConflict",
     .kind = Kind::kBoolean,
     .about = "Everything is then as it was; else the files have the conflicts in them."},
    kAuthor,
    kUsername,
    kPassword,
    kSshKey,
    kUser,
};
constexpr Field kPushFields[] = {
    kDir,
    kRemote,
    {.name = "branch", .about = "The current one when it is not there."},
    {.name = "setUpstream", .kind = Kind::kBoolean},
    {.name = "force", .kind = Kind::kBoolean, .about = "Unless it has moved since the last fetch."},
    {.name = "delete", .kind = Kind::kBoolean, .about = "The branch goes from the remote."},
    {.name = "tags", .kind = Kind::kBoolean, .about = "All tags too."},
    kUsername,
    kPassword,
    kSshKey,
    kUser,
};
constexpr Field kListQuery[] = {
    kDir, {.name = "remote", .kind = Kind::kBoolean, .about = "Those of remotes too."}, kUser};
constexpr Field kDeleteQuery[] = {
    kDir, {.name = "force", .kind = Kind::kBoolean, .about = "Though it is not merged."}, kUser};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/gitClone",
     .operation = "cloneRepository",
     .summary = "The same as git/clone.",
     .handler = OfSandbox<GitClone>,
     .answer = Media::kEvents,
     .returns = &answers::kCloned,
     .streams = &answers::kCloneEvent,
     .body = Media::kJson,
     .fields = kCloneFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/clone",
     .operation = "gitClone",
     .summary = "Clones a repository. Accept: text/event-stream gives its progress.",
     .handler = OfSandbox<GitClone>,
     .answer = Media::kEvents,
     .returns = &answers::kCloned,
     .streams = &answers::kCloneEvent,
     .body = Media::kJson,
     .fields = kCloneFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/status",
     .operation = "gitStatus",
     .summary = "What is checked out and what differs from it.",
     .handler = Handle<ParseGitStatus, sandbox::ReadGitStatus, GitStatusJson>,
     .returns = &answers::kGitStatus,
     .body = Media::kJson,
     .fields = kStatusFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/diff",
     .operation = "gitDiff",
     .summary = "What has changed, by file and as a patch.",
     .handler = Handle<ParseGitDiff, sandbox::ReadGitDiff, GitDiffJson>,
     .returns = &answers::kGitDiff,
     .body = Media::kJson,
     .fields = kDiffFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/log",
     .operation = "gitLog",
     .summary = "Commits, newest first.",
     .handler = Handle<ParseGitLog, sandbox::ReadGitLog, GitLogJson>,
     .returns = &answers::kGitLog,
     .body = Media::kJson,
     .fields = kLogFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/commit",
     .operation = "gitCommit",
     .summary = "Commits what is staged.",
     .handler = Handle<ParseGitCommit, sandbox::CommitGit, GitCommittedJson>,
     .returns = &answers::kGitCommitted,
     .body = Media::kJson,
     .fields = kCommitFields},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/git/branches",
     .operation = "listGitBranches",
     .summary = "Branches, by name.",
     .handler = ListBranches,
     .returns = &answers::kGitBranchList,
     .query = kListQuery},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/branches",
     .operation = "createGitBranch",
     .summary = "Makes a branch, without checking it out.",
     .handler = HandleSilent<ParseGitBranch, sandbox::CreateGitBranch>,
     .answer = Media::kNone,
     .body = Media::kJson,
     .fields = kBranchFields},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/git/branches/{name...}",
     .operation = "deleteGitBranch",
     .summary = "Removes a branch.",
     .handler = DeleteBranch,
     .answer = Media::kNone,
     .query = kDeleteQuery},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/checkout",
     .operation = "gitCheckout",
     .summary = "Checks out a branch or a commit.",
     .handler = Handle<ParseGitCheckout, sandbox::CheckOutGit, GitHeadJson>,
     .returns = &answers::kGitHead,
     .body = Media::kJson,
     .fields = kCheckoutFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/fetch",
     .operation = "gitFetch",
     .summary = "Gets what a remote has, and merges nothing.",
     .handler = HandleSilent<ParseGitFetch, sandbox::FetchGit>,
     .answer = Media::kNone,
     .body = Media::kJson,
     .fields = kFetchFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/pull",
     .operation = "gitPull",
     .summary = "Gets what a remote has and merges it into the current branch.",
     .handler = Handle<ParseGitPull, sandbox::PullGit, GitPulledJson>,
     .returns = &answers::kGitPulled,
     .body = Media::kJson,
     .fields = kPullFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/git/push",
     .operation = "gitPush",
     .summary = "Sends a branch to a remote.",
     .handler = Handle<ParseGitPush, sandbox::PushGit, GitPushedJson>,
     .returns = &answers::kGitPushed,
     .body = Media::kJson,
     .fields = kPushFields},
};

}  // namespace

std::span<const Route> GitRoutes() { return kRoutes; }

}  // namespace atl::api
