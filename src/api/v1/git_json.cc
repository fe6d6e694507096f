// SPDX-License-Identifier: Apache-2.0
#include "api/v1/git_json.h"

#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/seed/requests.h"
#include "api/v1/member_names.h"
#include "json/utf8.h"
#include "json/writer.h"

namespace atl::api {
namespace {

constexpr int64_t kMostContext = 1000;
constexpr int64_t kMostSkipped = 100'000'000;
constexpr int64_t kMostDepth = 2'147'483'647;
constexpr int64_t kUsualPatch = 1LL << 20U;
constexpr int64_t kMostPatch = 16LL << 20U;
// Years 1 to 9999, which is what a time can be written of.
constexpr int64_t kLeastTime = -62'135'596'800;
constexpr int64_t kMostTime = 253'402'300'799;

Result<std::string> TextOf(const json::Object& body, std::string_view name) {
  ASSIGN(std::optional<std::string> text, body.OptionalText(name));
  return std::move(text).value_or("");
}

Result<bool> FlagOf(const json::Object& body, std::string_view name, bool otherwise = false) {
  ASSIGN(std::optional<bool> flag, body.OptionalBool(name));
  return flag.value_or(otherwise);
}

Result<std::vector<std::string>> PathsOf(const json::Object& body) {
  ASSIGN(auto paths, body.OptionalTextList("paths"));
  return std::move(paths).value_or(std::vector<std::string>());
}

Result<sandbox::GitPlace> PlaceOf(const json::Object& body) {
  sandbox::GitPlace place;
  ASSIGN(std::optional<std::string> dir, body.OptionalText("dir"));
  if (dir) place.dir = *std::move(dir);
  ASSIGN(place.user, TextOf(body, "user"));
  return place;
}

constexpr Field kAuthorFields[] = {{.name = "name"}, {.name = "email"}};

Result<sandbox::GitIdentity> IdentityOf(const json::Object& body) {
  sandbox::GitIdentity identity;
  ASSIGN(std::optional<json::Object> author, body.OptionalObject("author"));
  if (!author) return identity;
  TRY(CheckMemberNames(kAuthorFields, body, "author"));
  ASSIGN(identity.name, author->Text("name"));
  ASSIGN(identity.email, author->Text("email"));
  return identity;
}

void WriteBytes(json::Writer& writer, std::string_view name, std::string_view bytes) {
  writer.Field(name, bytes);
  if (json::IsUtf8(bytes)) return;
  std::string encoded = "\"";
  json::AppendBase64(encoded, bytes);
  encoded += '"';
  writer.Key(std::string(name) + "Base64").Raw(encoded);
}

std::string_view Word(char letter) {
  switch (letter) {
    case 'M':
      return "modified";
    case 'T':
      return "typechange";
    case 'A':
      return "added";
    case 'D':
      return "deleted";
    case 'R':
      return "renamed";
    case 'C':
      return "copied";
    case 'U':
      return "unmerged";
    case '?':
      return "untracked";
    case '!':
      return "ignored";
    default:
      return "unmodified";
  }
}

std::string_view PushWord(char flag) {
  switch (flag) {
    case '+':
      return "forced";
    case '-':
      return "deleted";
    case '*':
      return "new";
    case '!':
      return "rejected";
    case '=':
      return "unchanged";
    default:
      return "updated";
  }
}

void WriteOptional(json::Writer& writer, std::string_view name, std::string_view text) {
  writer.Key(name);
  if (text.empty()) {
    writer.Null();
  } else {
    writer.String(text);
  }
}

void WriteHead(json::Writer& writer, std::string_view branch, std::string_view commit) {
  WriteOptional(writer, "branch", branch);
  WriteOptional(writer, "commit", commit);
  writer.Field("detached", branch.empty());
}

void WriteTime(json::Writer& writer, std::string_view name, int64_t seconds) {
  if (seconds < kLeastTime || seconds > kMostTime) return;
  writer.Field(name, IsoTime(seconds * 1000));
}

void WriteCommit(json::Writer& writer, const sandbox::GitCommit& commit) {
  writer.BeginObject().Field("commit", commit.commit).Key("parents").BeginArray();
  for (const std::string& parent : commit.parents) writer.String(parent);
  writer.EndArray();
  writer.Key("author").BeginObject().Field("name", commit.author);
  writer.Field("email", commit.author_email);
  WriteTime(writer, "date", commit.author_time);
  writer.EndObject().Key("committer").BeginObject().Field("name", commit.committer);
  writer.Field("email", commit.committer_email);
  WriteTime(writer, "date", commit.commit_time);
  writer.EndObject().Key("refs").BeginArray();
  for (const std::string& ref : commit.refs) writer.String(ref);
  writer.EndArray().Field("message", commit.message).EndObject();
}

}  // namespace

Result<sandbox::GitStatusRequest> ParseGitStatus(const json::Object& body) {
  sandbox::GitStatusRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.untracked, FlagOf(body, "untracked", true));
  ASSIGN(request.ignored, FlagOf(body, "ignored"));
  return request;
}

Result<sandbox::GitDiffRequest> ParseGitDiff(const json::Object& body) {
  sandbox::GitDiffRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.staged, FlagOf(body, "staged"));
  ASSIGN(request.from, TextOf(body, "from"));
  ASSIGN(request.to, TextOf(body, "to"));
  ASSIGN(request.paths, PathsOf(body));
  ASSIGN(request.context, body.OptionalInt("context", {.min = 0, .max = kMostContext}));
  ASSIGN(bool patch, FlagOf(body, "patch", true));
  ASSIGN(auto most, body.OptionalInt("maxPatchBytes", {.min = 1, .max = kMostPatch}));
  if (patch) request.patch_limit = static_cast<size_t>(most.value_or(kUsualPatch));
  return request;
}

Result<sandbox::GitLogRequest> ParseGitLog(const json::Object& body) {
  sandbox::GitLogRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.ref, TextOf(body, "ref"));
  ASSIGN(request.paths, PathsOf(body));
  ASSIGN(auto limit, body.OptionalInt("limit", {.min = 1, .max = sandbox::kMostCommits}));
  if (limit) request.limit = static_cast<size_t>(*limit);
  ASSIGN(auto skip, body.OptionalInt("skip", {.min = 0, .max = kMostSkipped}));
  if (skip) request.skip = static_cast<size_t>(*skip);
  return request;
}

Result<sandbox::GitCommitRequest> ParseGitCommit(const json::Object& body) {
  sandbox::GitCommitRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.message, body.Text("message"));
  ASSIGN(request.all, FlagOf(body, "all"));
  ASSIGN(request.paths, PathsOf(body));
  ASSIGN(request.amend, FlagOf(body, "amend"));
  ASSIGN(request.allow_empty, FlagOf(body, "allowEmpty"));
  ASSIGN(request.author, IdentityOf(body));
  return request;
}

Result<sandbox::GitBranchRequest> ParseGitBranch(const json::Object& body) {
  sandbox::GitBranchRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.name, body.Text("name"));
  ASSIGN(request.from, TextOf(body, "from"));
  return request;
}

Result<sandbox::GitCheckoutRequest> ParseGitCheckout(const json::Object& body) {
  sandbox::GitCheckoutRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.ref, body.Text("ref"));
  ASSIGN(request.create, FlagOf(body, "create"));
  ASSIGN(request.from, TextOf(body, "from"));
  ASSIGN(request.detach, FlagOf(body, "detach"));
  ASSIGN(request.force, FlagOf(body, "force"));
  return request;
}

Result<sandbox::GitFetchRequest> ParseGitFetch(const json::Object& body) {
  sandbox::GitFetchRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.remote, TextOf(body, "remote"));
  ASSIGN(request.branch, TextOf(body, "branch"));
  ASSIGN(request.prune, FlagOf(body, "prune"));
  ASSIGN(request.tags, FlagOf(body, "tags"));
  ASSIGN(request.depth, body.OptionalInt("depth", {.min = 1, .max = kMostDepth}));
  ASSIGN(request.credentials, ParseCredentials(body));
  return request;
}

Result<sandbox::GitPullRequest> ParseGitPull(const json::Object& body) {
  sandbox::GitPullRequest request;
  ASSIGN(request.fetch, ParseGitFetch(body));
  ASSIGN(request.rebase, FlagOf(body, "rebase"));
  ASSIGN(request.ff_only, FlagOf(body, "ffOnly"));
  ASSIGN(request.abort_on_conflict, FlagOf(body, "abortOnConflict"));
  ASSIGN(request.author, IdentityOf(body));
  return request;
}

Result<sandbox::GitPushRequest> ParseGitPush(const json::Object& body) {
  sandbox::GitPushRequest request;
  ASSIGN(request.place, PlaceOf(body));
  ASSIGN(request.remote, TextOf(body, "remote"));
  ASSIGN(request.branch, TextOf(body, "branch"));
  ASSIGN(request.set_upstream, FlagOf(body, "setUpstream"));
  ASSIGN(request.force, FlagOf(body, "force"));
  ASSIGN(request.remove, FlagOf(body, "delete"));
  ASSIGN(request.tags, FlagOf(body, "tags"));
  ASSIGN(request.credentials, ParseCredentials(body));
  return request;
}

std::string GitStatusJson(const sandbox::GitStatus& status) {
  json::Writer writer;
  writer.BeginObject();
  WriteHead(writer, status.branch, status.commit);
  WriteOptional(writer, "upstream", status.upstream);
  if (status.ahead) writer.Field("ahead", *status.ahead);
  if (status.behind) writer.Field("behind", *status.behind);
  bool clean = true;
  bool conflicts = false;
  for (const sandbox::GitChange& change : status.changes) {
    clean &= change.index == '!';
    conflicts |= change.conflict;
  }
  writer.Field("clean", clean).Field("conflicts", conflicts).Key("changes").BeginArray();
  for (const sandbox::GitChange& change : status.changes) {
    writer.BeginObject();
    WriteBytes(writer, "path", change.path);
    if (!change.from.empty()) WriteBytes(writer, "from", change.from);
    writer.Field("index", Word(change.index)).Field("worktree", Word(change.worktree));
    if (change.conflict) writer.Field("conflict", true);
    if (change.submodule) writer.Field("submodule", true);
    writer.EndObject();
  }
  writer.EndArray().Field("more", status.more).EndObject();
  return writer.Take();
}

std::string GitDiffJson(const sandbox::GitDiff& diff) {
  json::Writer writer;
  writer.BeginObject().Key("files").BeginArray();
  for (const sandbox::GitFileDiff& file : diff.changed.files) {
    writer.BeginObject();
    WriteBytes(writer, "path", file.path);
    if (!file.from.empty()) WriteBytes(writer, "from", file.from);
    writer.Field("status", Word(file.status));
    bool text = file.added.has_value() && file.removed.has_value();
    if (text) writer.Field("added", *file.added).Field("removed", *file.removed);
    writer.Field("binary", !text && file.status != 'U').EndObject();
  }
  writer.EndArray().Field("more", diff.changed.more);
  std::string_view patch = diff.patch;
  if (diff.patch_truncated) patch.remove_suffix(json::IncompleteTail(patch));
  WriteBytes(writer, "patch", patch);
  writer.Field("patchTruncated", diff.patch_truncated).EndObject();
  return writer.Take();
}

std::string GitLogJson(const sandbox::GitLog& log) {
  json::Writer writer;
  writer.BeginObject().Key("commits").BeginArray();
  for (const sandbox::GitCommit& commit : log.commits) WriteCommit(writer, commit);
  writer.EndArray().Field("more", log.more).EndObject();
  return writer.Take();
}

std::string GitBranchesJson(const sandbox::GitBranches& branches) {
  json::Writer writer;
  writer.BeginObject();
  WriteHead(writer, branches.head.branch, branches.head.commit);
  writer.Key("branches").BeginArray();
  for (const sandbox::GitBranch& branch : branches.branches) {
    writer.BeginObject();
    WriteBytes(writer, "name", branch.name);
    writer.Field("commit", branch.commit).Field("remote", branch.remote);
    writer.Field("current", branch.current);
    if (!branch.upstream.empty()) WriteBytes(writer, "upstream", branch.upstream);
    WriteTime(writer, "date", branch.commit_time);
    writer.Field("subject", branch.subject).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string GitCommittedJson(const sandbox::GitCommitted& committed) {
  json::Writer writer;
  writer.BeginObject();
  WriteHead(writer, committed.head.branch, committed.commit.commit);
  writer.Key("details");
  WriteCommit(writer, committed.commit);
  writer.EndObject();
  return writer.Take();
}

std::string GitHeadJson(const sandbox::GitHead& head) {
  json::Writer writer;
  writer.BeginObject();
  WriteHead(writer, head.branch, head.commit);
  writer.EndObject();
  return writer.Take();
}

std::string GitPulledJson(const sandbox::GitPulled& pulled) {
  json::Writer writer;
  writer.BeginObject();
  WriteHead(writer, pulled.after.branch, pulled.after.commit);
  WriteOptional(writer, "before", pulled.before.commit);
  writer.Field("changed", pulled.before.commit != pulled.after.commit).EndObject();
  return writer.Take();
}

std::string GitPushedJson(const std::vector<sandbox::GitPushed>& pushed) {
  json::Writer writer;
  writer.BeginObject().Key("refs").BeginArray();
  for (const sandbox::GitPushed& one : pushed) {
    writer.BeginObject();
    WriteBytes(writer, "ref", one.to);
    writer.Field("status", PushWord(one.flag)).Field("summary", one.summary).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

}  // namespace atl::api
