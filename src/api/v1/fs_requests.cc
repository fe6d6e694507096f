// SPDX-License-Identifier: Apache-2.0
#include "api/v1/fs_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/v1/file_json.h"
#include "crypto/base64.h"

namespace atl::api {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kMostSeconds = 9'000'000'000;
constexpr int64_t kMostTimeoutMs = 600'000;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

Result<std::string> TextOr(const json::Object& body, std::string_view name, std::string otherwise) {
  ASSIGN(std::optional<std::string> text, body.OptionalText(name));
  return text ? *std::move(text) : std::move(otherwise);
}

Result<bool> BoolOr(const json::Object& body, std::string_view name, bool otherwise) {
  ASSIGN(std::optional<bool> value, body.OptionalBool(name));
  return value.value_or(otherwise);
}

// Path and user, which every operation has.
template <class Request>
Result<Request> Begin(const json::Object& body) {
  Request request;
  ASSIGN(request.path, body.Text("path"));
  ASSIGN(request.user, TextOr(body, "user", ""));
  return request;
}

template <class Request>
Result<Request> BeginPair(const json::Object& body) {
  Request request;
  ASSIGN(request.from, body.Text("from"));
  ASSIGN(request.to, body.Text("to"));
  ASSIGN(request.user, TextOr(body, "user", ""));
  ASSIGN(request.overwrite, BoolOr(body, "overwrite", true));
  ASSIGN(request.parents, BoolOr(body, "parents", false));
  return request;
}

uint32_t KindBit(sandbox::FileKind kind) { return 1U << static_cast<unsigned>(kind); }

Result<uint32_t> ParseKinds(const std::string& type) {
  using sandbox::FileKind;
  if (type.empty()) return 0;
  if (type == "other") {
    return KindBit(FileKind::kFifo) | KindBit(FileKind::kSocket) | KindBit(FileKind::kDevice);
  }
  for (FileKind kind : {FileKind::kFile, FileKind::kDirectory, FileKind::kSymlink}) {
    if (type == sandbox::KindName(kind)) return KindBit(kind);
  }
  return Invalid("\"type\" must be file, directory, symlink or other");
}

Result<uint64_t> NanosOr(const json::Object& body, std::string_view name, int64_t otherwise) {
  ASSIGN(auto seconds, body.OptionalNumber(name, -kMostSeconds, kMostSeconds));
  if (!seconds) return static_cast<uint64_t>(otherwise);
  return static_cast<uint64_t>(static_cast<int64_t>(*seconds * kNanosPerSecond));
}

}  // namespace

Result<sandbox::StatFile> ParseStat(const json::Object& body) {
  ASSIGN(auto request, Begin<sandbox::StatFile>(body));
  ASSIGN(request.follow, BoolOr(body, "follow", true));
  return request;
}

Result<sandbox::MakeDir> ParseMakeDir(const json::Object& body) {
  ASSIGN(auto request, Begin<sandbox::MakeDir>(body));
  ASSIGN(request.parents, BoolOr(body, "parents", false));
  ASSIGN(std::string mode, TextOr(body, "mode", "0755"));
  ASSIGN(request.mode, ParseMode(mode));
  return request;
}

Result<sandbox::MoveFile> ParseMove(const json::Object& body) {
  return BeginPair<sandbox::MoveFile>(body);
}

Result<sandbox::CopyFile> ParseCopy(const json::Object& body) {
  ASSIGN(auto request, BeginPair<sandbox::CopyFile>(body));
  ASSIGN(request.recursive, BoolOr(body, "recursive", false));
  return request;
}

Result<sandbox::RemoveFile> ParseRemove(const json::Object& body) {
  ASSIGN(auto request, Begin<sandbox::RemoveFile>(body));
  ASSIGN(request.recursive, BoolOr(body, "recursive", false));
  ASSIGN(request.missing_ok, BoolOr(body, "missingOk", false));
  return request;
}

Result<sandbox::SetFile> ParseSet(const json::Object& body) {
  ASSIGN(auto request, Begin<sandbox::SetFile>(body));
  ASSIGN(request.follow, BoolOr(body, "follow", true));
  ASSIGN(request.owner, TextOr(body, "owner", ""));
  ASSIGN(std::string mode, TextOr(body, "mode", ""));
  if (!mode.empty()) {
    ASSIGN(request.mode, ParseMode(mode));
    request.set_mode = true;
  }
  if (!request.set_mode && request.owner.empty()) return Invalid("\"mode\" or \"owner\" is needed");
  return request;
}

Result<sandbox::ListFiles> ParseList(const json::Object& body, bool any_depth) {
  ASSIGN(auto request, Begin<sandbox::ListFiles>(body));
  ASSIGN(bool recursive, BoolOr(body, "recursive", any_depth));
  ASSIGN(auto depth, body.OptionalInt("depth", {.min = 1, .max = sandbox::kAnyDepth}));
  request.max_depth = static_cast<uint32_t>(depth.value_or(recursive ? sandbox::kAnyDepth : 1));
  ASSIGN(request.hidden, BoolOr(body, "includeHidden", true));
  ASSIGN(auto limit, body.OptionalInt("limit", {.min = 1, .max = sandbox::kMostListed}));
  if (limit) request.limit = static_cast<uint32_t>(*limit);
  ASSIGN(std::string cursor, TextOr(body, "cursor", ""));
  std::optional<std::string> after = crypto::Base64Decode(cursor);
  if (!after || after->find('\0') != std::string::npos) return Invalid("\"cursor\" is none");
  request.after = *std::move(after);
  ASSIGN(request.name, TextOr(body, "name", ""));
  ASSIGN(auto exclude, body.OptionalTextList("exclude"));
  if (exclude) request.exclude = *std::move(exclude);
  ASSIGN(std::string type, TextOr(body, "type", ""));
  ASSIGN(request.kinds, ParseKinds(type));
  ASSIGN(auto min_size, body.OptionalInt("minSize", {.min = 0}));
  if (min_size) request.min_size = static_cast<uint64_t>(*min_size);
  ASSIGN(auto max_size, body.OptionalInt("maxSize", {.min = 0}));
  if (max_size) request.max_size = static_cast<uint64_t>(*max_size);
  ASSIGN(request.newer_than_ns, NanosOr(body, "newerThan", INT64_MIN));
  ASSIGN(request.older_than_ns, NanosOr(body, "olderThan", INT64_MAX));
  return request;
}

Result<sandbox::GrepRequest> ParseGrep(const json::Object& body) {
  sandbox::GrepRequest request;
  ASSIGN(request.pattern, body.Text("pattern"));
  ASSIGN(request.path, TextOr(body, "path", "/workspace"));
  ASSIGN(request.fixed, BoolOr(body, "fixed", false));
  ASSIGN(request.ignore_case, BoolOr(body, "ignoreCase", false));
  ASSIGN(request.words, BoolOr(body, "words", false));
  ASSIGN(request.hidden, BoolOr(body, "includeHidden", true));
  ASSIGN(request.ignored, BoolOr(body, "includeIgnored", true));
  ASSIGN(auto include, body.OptionalTextList("include"));
  if (include) request.include = *std::move(include);
  ASSIGN(auto exclude, body.OptionalTextList("exclude"));
  if (exclude) request.exclude = *std::move(exclude);
  ASSIGN(auto limit, body.OptionalInt("limit", {.min = 1, .max = sandbox::kMostMatches}));
  if (limit) request.limit = static_cast<uint32_t>(*limit);
  ASSIGN(auto timeout, body.OptionalInt("timeout", {.min = 1, .max = kMostTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  ASSIGN(request.user, TextOr(body, "user", ""));
  return request;
}

std::string CursorOf(const sandbox::Listing& listing) {
  if (!listing.more || listing.entries.empty()) return {};
  return crypto::Base64Encode(listing.entries.back().path);
}

}  // namespace atl::api
