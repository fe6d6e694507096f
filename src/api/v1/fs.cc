// SPDX-License-Identifier: Apache-2.0
#include "api/v1/fs.h"

#include <utility>

#include "api/v1/answers/files.h"
#include "api/v1/file_json.h"
#include "api/v1/fs_requests.h"

namespace atl::api {
namespace {

// Reads the body with `parse`, does `act` in the sandbox and answers with what became of it.
template <class Request>
async::Task<Result<std::string>> ActOn(
    const Services& services, std::string id, http::Exchange& exchange,
    Result<Request> (*parse)(const json::Object&),
    async::Task<Result<sandbox::FileInfo>> (*act)(sandbox::AgentClient&, Request),
    std::string Request::* path) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  CO_ASSIGN(Request request, parse(body));
  std::string acted_on = request.*path;
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(sandbox::FileInfo info, co_await act(sandbox->agent(), std::move(request)));
  co_return FileJson(acted_on, info);
}

async::Task<> StatAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await ActOn(services, std::move(values.at(0)), exchange, ParseStat,
                                            sandbox::Stat, &sandbox::StatFile::path);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> MakeAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await ActOn(services, std::move(values.at(0)), exchange,
                                            ParseMakeDir, sandbox::Make, &sandbox::MakeDir::path);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> MoveTo(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await ActOn(services, std::move(values.at(0)), exchange, ParseMove,
                                            sandbox::Move, &sandbox::MoveFile::to);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> CopyTo(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await ActOn(services, std::move(values.at(0)), exchange, ParseCopy,
                                            sandbox::Copy, &sandbox::CopyFile::to);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> SetAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await ActOn(services, std::move(values.at(0)), exchange, ParseSet,
                                            sandbox::Set, &sandbox::SetFile::path);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoExists(const Services& services, std::string id,
                                          http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  CO_ASSIGN(sandbox::StatFile request, ParseStat(body));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(bool exists, co_await sandbox::Exists(sandbox->agent(), std::move(request)));
  json::Writer writer;
  writer.BeginObject().Field("exists", exists).EndObject();
  co_return writer.Take();
}

async::Task<> ExistsAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoExists(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> RemoveInto(sandbox::AgentClient& agent, sandbox::RemoveFile request,
                         Result<void>& result) {
  result = co_await sandbox::Remove(agent, std::move(request));
}

async::Task<Result<void>> DoRemove(const Services& services, std::string id,
                                   http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  CO_ASSIGN(sandbox::RemoveFile request, ParseRemove(body));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<void> removed = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(RemoveInto(sandbox->agent(), std::move(request), removed),
                       exchange.WaitForHangup());
  co_return removed;
}

async::Task<> RemoveAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> removed = co_await DoRemove(services, std::move(values.at(0)), exchange);
  if (!removed) {
    co_await http::RespondError(exchange, std::move(removed).error());
    co_return;
  }
  co_await RespondNothing(exchange);
}

std::string ListingJson(const sandbox::Listing& listing) {
  json::Writer writer;
  std::string prefix = listing.dir;
  while (!prefix.empty() && prefix.back() == '/') prefix.pop_back();
  prefix += '/';
  writer.BeginObject().Field("path", listing.dir).Key("files").BeginArray();
  for (const sandbox::FileEntry& entry : listing.entries) {
    WriteFileInfo(writer, prefix + entry.path, entry.info);
  }
  writer.EndArray().Field("count", listing.entries.size());
  if (listing.skipped > 0) writer.Field("skipped", listing.skipped);
  if (listing.more) writer.Field("cursor", CursorOf(listing));
  writer.EndObject();
  return writer.Take();
}

async::Task<> ListInto(sandbox::AgentClient& agent, sandbox::ListFiles request,
                       Result<sandbox::Listing>& result) {
  result = co_await sandbox::List(agent, std::move(request));
}

async::Task<Result<std::string>> DoList(const Services& services, std::string id,
                                        http::Exchange& exchange, bool any_depth) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  CO_ASSIGN(sandbox::ListFiles request, ParseList(body, any_depth));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<sandbox::Listing> listing = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(ListInto(sandbox->agent(), std::move(request), listing),
                       exchange.WaitForHangup());
  if (!listing) co_return Unexpected(std::move(listing).error());
  co_return ListingJson(*listing);
}

async::Task<> ListAt(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoList(services, std::move(values.at(0)), exchange, false);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> FindIn(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoList(services, std::move(values.at(0)), exchange, true);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> GrepInto(sandbox::AgentClient& agent, sandbox::GrepRequest request,
                       Result<sandbox::GrepResult>& result) {
  result = co_await sandbox::Grep(agent, std::move(request));
}

async::Task<Result<std::string>> DoGrep(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  CO_ASSIGN(sandbox::GrepRequest request, ParseGrep(body));
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<sandbox::GrepResult> found = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(GrepInto(sandbox->agent(), std::move(request), found),
                       exchange.WaitForHangup());
  if (!found) co_return Unexpected(std::move(found).error());
  json::Writer writer;
  writer.BeginObject().Key("matches").BeginArray();
  for (const sandbox::GrepMatch& match : found->matches) {
    writer.BeginObject().Field("path", match.path).Field("line", match.line);
    if (match.column > 0) writer.Field("column", match.column);
    writer.Field("text", match.text).EndObject();
  }
  writer.EndArray().Field("count", found->matches.size()).Field("more", found->more);
  writer.Field("timedOut", found->timed_out).EndObject();
  co_return writer.Take();
}

async::Task<> GrepIn(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoGrep(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

constexpr Field kPath{
    .name = "path", .about = "Absolute, or relative to /workspace.", .required = true};
constexpr Field kUser{.name = "user",
                      .about = "As whom: \"name\", \"uid\", either with \":group\"."};
constexpr Field kFollow{.name = "follow", .kind = Kind::kBoolean, .about = "Symlinks; true."};
constexpr Field kRecursive{.name = "recursive", .kind = Kind::kBoolean};
constexpr Field kParents{
    .name = "parents", .kind = Kind::kBoolean, .about = "Make the directories that are missing."};
constexpr Field kMode{.name = "mode", .about = "Octal: \"0644\"."};
constexpr Field kFrom{.name = "from", .about = "What there is.", .required = true};
constexpr Field kTo{.name = "to", .about = "Its new path itself.", .required = true};
constexpr Field kOverwrite{
    .name = "overwrite", .kind = Kind::kBoolean, .about = "Replace what is there; true."};

constexpr Field kStatFields[] = {kPath, kFollow, kUser};
constexpr Field kMakeFields[] = {kPath, kParents, kMode, kUser};
constexpr Field kMoveFields[] = {kFrom, kTo, kOverwrite, kParents, kUser};
constexpr Field kCopyFields[] = {kFrom, kTo, kRecursive, kOverwrite, kParents, kUser};
constexpr Field kRemoveFields[] = {
    kPath,
    kRecursive,
    {.name = "missingOk", .kind = Kind::kBoolean, .about = "Nothing there is fine."},
    kUser};
constexpr Field kSetFields[] = {
    kPath,
    kMode,
    {.name = "owner", .about = "\"user\", \"user:group\" or \":group\"."},
    kFollow,
    kUser};
constexpr Field kListFields[] = {
    kPath,
    kRecursive,
    {.name = "depth", .kind = Kind::kInteger, .min = 1, .max = sandbox::kAnyDepth},
    {.name = "includeHidden",
     .kind = Kind::kBoolean,
     .about = "Names that begin with a dot; true."},
    {.name = "exclude",
     .kind = Kind::kTextList,
     .about = "Globs of names, or of paths when they have a slash; * matches slashes too."},
    {.name = "name", .about = "A glob that the name matches."},
    {.name = "type", .about = "file, directory, symlink or other."},
    {.name = "minSize", .kind = Kind::kInteger, .about = "Bytes; of files.", .min = 0},
    {.name = "maxSize", .kind = Kind::kInteger, .about = "Bytes; of files.", .min = 0},
    {.name = "newerThan", .kind = Kind::kNumber, .about = "Changed since, in seconds since 1970."},
    {.name = "olderThan", .kind = Kind::kNumber, .about = "Not changed since."},
    {.name = "limit",
     .kind = Kind::kInteger,
     .about = "At most so many; 10,000.",
     .min = 1,
     .max = sandbox::kMostListed},
    {.name = "cursor", .about = "Of the answer before."},
    kUser,
};

constexpr Field kGrepFields[] = {
    {.name = "pattern", .about = "An expression, or text with `fixed`.", .required = true},
    {.name = "path", .about = "A directory or a file; /workspace when it is not there."},
    {.name = "fixed", .kind = Kind::kBoolean, .about = "The pattern is text."},
    {.name = "ignoreCase", .kind = Kind::kBoolean},
    {.name = "words", .kind = Kind::kBoolean, .about = "Whole words."},
    {.name = "includeHidden",
     .kind = Kind::kBoolean,
     .about = "Names that begin with a dot; true."},
    {.name = "includeIgnored", .kind = Kind::kBoolean, .about = "What .gitignore names; true."},
    {.name = "include", .kind = Kind::kTextList, .about = "Globs of files."},
    {.name = "exclude", .kind = Kind::kTextList, .about = "Globs of files and directories."},
    {.name = "limit",
     .kind = Kind::kInteger,
     .about = "At most so many; 1000.",
     .min = 1,
     .max = sandbox::kMostMatches},
    {.name = "timeout",
     .kind = Kind::kInteger,
     .about = "Milliseconds; then what was found so far, with `timedOut`.",
     .min = 1,
     .max = 600'000},
    kUser,
};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/stat",
     .operation = "statFile",
     .summary = "What there is at a path.",
     .handler = StatAt,
     .returns = &answers::kFile,
     .body = Media::kJson,
     .fields = kStatFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/exists",
     .operation = "fileExists",
     .summary = "Whether there is something at a path.",
     .handler = ExistsAt,
     .returns = &answers::kExists,
     .body = Media::kJson,
     .fields = kStatFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/list",
     .operation = "listFiles",
     .summary = "What is in a directory, by name.",
     .handler = ListAt,
     .returns = &answers::kFileList,
     .body = Media::kJson,
     .fields = kListFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/find",
     .operation = "findFiles",
     .summary = "The same of everything below it.",
     .handler = FindIn,
     .returns = &answers::kFileList,
     .body = Media::kJson,
     .fields = kListFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/grep",
     .operation = "grepFiles",
     .summary = "Lines of files that a pattern matches.",
     .handler = GrepIn,
     .returns = &answers::kGrep,
     .body = Media::kJson,
     .fields = kGrepFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/mkdir",
     .operation = "makeDirectory",
     .summary = "Makes a directory.",
     .handler = MakeAt,
     .returns = &answers::kFile,
     .body = Media::kJson,
     .fields = kMakeFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/move",
     .operation = "moveFile",
     .summary = "Gives a file or directory another path.",
     .handler = MoveTo,
     .returns = &answers::kFile,
     .body = Media::kJson,
     .fields = kMoveFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/copy",
     .operation = "copyFile",
     .summary = "Copies a file, or with `recursive` a directory.",
     .handler = CopyTo,
     .returns = &answers::kFile,
     .body = Media::kJson,
     .fields = kCopyFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/remove",
     .operation = "removeFile",
     .summary = "Removes a file, or with `recursive` a directory.",
     .handler = RemoveAt,
     .answer = Media::kNone,
     .body = Media::kJson,
     .fields = kRemoveFields},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/fs/chmod",
     .operation = "setFileAttributes",
     .summary = "Changes mode, owner or both.",
     .handler = SetAt,
     .returns = &answers::kFile,
     .body = Media::kJson,
     .fields = kSetFields},
};

}  // namespace

std::span<const Route> FsRoutes() { return kRoutes; }

}  // namespace atl::api
