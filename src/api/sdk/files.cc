// SPDX-License-Identifier: Apache-2.0
#include "sandbox/files.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "api/sdk/file_kind.h"
#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/v1/content_type.h"
#include "crypto/base64.h"
#include "json/utf8.h"

namespace atl::api::sdk {
namespace {

constexpr size_t kMostContent = 32UL << 20U;

struct Place {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  std::string session;
};

async::Task<Result<Place>> Enter(Call& call) {
  Place place;
  CO_ASSIGN(place.session, SessionOf(call.body));
  CO_ASSIGN(place.sandbox, co_await Use(call));
  co_return place;
}

// The path in a field, as the session sees it.
async::Task<Result<std::string>> PathIn(Call& call, const Place& place, std::string_view field) {
  CO_ASSIGN(std::string path, RequiredText(call.body, field));
  CO_ASSIGN(path, co_await PathFrom(place.sandbox->agent(), place.session, std::move(path)));
  co_return sandbox::AbsolutePath(path);
}

// Checked before anything begins; an error says which file it is about.
Result<void> CheckPath(Call& call, std::string_view field, bool first = true) {
  ASSIGN(std::string path, RequiredText(call.body, field));
  if (first) call.About("path", path);
  TRY(sandbox::AbsolutePath(path));
  return {};
}

enum class Encoding : uint8_t { kByContent, kText, kBase64 };

Result<Encoding> EncodingOf(const json::Object& body) {
  ASSIGN(std::optional<std::string> encoding, body.OptionalText("encoding"));
  if (!encoding) return Encoding::kByContent;
  if (*encoding == "utf-8" || *encoding == "utf8") return Encoding::kText;
  if (*encoding == "base64") return Encoding::kBase64;
  return Fail(Code::kInvalidArgument,
              fmt::format("\"encoding\" is \"utf-8\" or \"base64\", not \"{:.40}\"", *encoding),
              "VALIDATION_FAILED");
}

std::string ContentJson(const std::string& path, std::string_view bytes, Encoding encoding) {
  bool binary = IsBinary(bytes);
  if (encoding == Encoding::kByContent) encoding = binary ? Encoding::kBase64 : Encoding::kText;
  json::Writer writer = Success();
  std::string content;
  if (encoding == Encoding::kText) {
    json::AppendString(content, bytes);
  } else {
    content = '"';
    json::AppendBase64(content, bytes);
    content += '"';
  }
  writer.Field("path", path).Key("content").Raw(content);
  writer.Field("encoding", encoding == Encoding::kText ? "utf-8" : "base64");
  writer.Field("isBinary", binary).Field("mimeType", MimeTypeOf(path, bytes));
  writer.Field("size", bytes.size());
  return Finished(writer);
}

async::Task<Result<std::string>> DoRead(Call& call) {
  CO_TRY(CheckPath(call, "path"));
  CO_ASSIGN(Encoding encoding, EncodingOf(call.body));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::ReadFile what;
  CO_ASSIGN(what.path, co_await PathIn(call, place, "path"));
  Result<sandbox::FileContent> content = co_await sandbox::ReadWholeFile(
      place.sandbox->agent(), call.services.registry.streams(), std::move(what), kMostContent);
  if (!content) co_return Unexpected(std::move(content).error());
  co_return ContentJson(call.body.Text("path").value_or(""), content->bytes, encoding);
}

Result<std::string> ContentOf(const json::Object& body) {
  ASSIGN(Encoding encoding, EncodingOf(body));
  ASSIGN(std::string content, body.String("content"));
  if (encoding == Encoding::kBase64) {
    std::optional<std::string> bytes = crypto::Base64Decode(content);
    if (!bytes) return Fail(Code::kInvalidArgument, "\"content\" is not base64");
    content = *std::move(bytes);
  }
  if (content.size() <= kMostContent) return content;
  return Fail(Code::kTooLarge, fmt::format("the content has more than {} bytes", kMostContent),
              "FILE_TOO_LARGE");
}

async::Task<Result<std::string>> DoWrite(Call& call) {
  CO_TRY(CheckPath(call, "path"));
  CO_ASSIGN(std::string content, ContentOf(call.body));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::WriteFile what;
  CO_ASSIGN(what.path, co_await PathIn(call, place, "path"));
  Result<sandbox::FileInfo> written = co_await sandbox::WriteWholeFile(
      place.sandbox->agent(), call.services.registry.streams(), std::move(what), content);
  if (!written) co_return Unexpected(std::move(written).error());
  json::Writer writer = Success();
  writer.Field("path", call.body.Text("path").value_or(""));
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoDelete(Call& call) {
  CO_TRY(CheckPath(call, "path"));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::AgentClient& agent = place.sandbox->agent();
  sandbox::RemoveFile what;
  CO_ASSIGN(what.path, co_await PathIn(call, place, "path"));
  sandbox::StatFile look{.path = what.path, .user = {}, .follow = false};
  CO_ASSIGN(sandbox::FileInfo info, co_await sandbox::Stat(agent, std::move(look)));
  if (info.kind == sandbox::FileKind::kDirectory) {
    co_return Fail(Code::kInvalidArgument, fmt::format("{} is a directory", what.path),
                   "IS_DIRECTORY");
  }
  CO_TRY(co_await sandbox::Remove(agent, std::move(what)));
  json::Writer writer = Success();
  writer.Field("path", call.body.Text("path").value_or(""));
  co_return Finished(writer);
}

async::Task<Result<std::string>> Relocate(Call& call, std::string_view from_field,
                                          std::string_view to_field) {
  CO_TRY(CheckPath(call, from_field));
  CO_TRY(CheckPath(call, to_field, false));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::MoveFile what;
  CO_ASSIGN(what.from, co_await PathIn(call, place, from_field));
  CO_ASSIGN(what.to, co_await PathIn(call, place, to_field));
  CO_TRY(co_await sandbox::Move(place.sandbox->agent(), std::move(what)));
  json::Writer writer = Success();
  writer.Field("path", call.body.Text(from_field).value_or(""));
  writer.Field("newPath", call.body.Text(to_field).value_or(""));
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoRename(Call& call) {
  return Relocate(call, "oldPath", "newPath");
}

async::Task<Result<std::string>> DoMove(Call& call) {
  return Relocate(call, "sourcePath", "destinationPath");
}

async::Task<Result<std::string>> DoMakeDir(Call& call) {
  CO_TRY(CheckPath(call, "path"));
  CO_ASSIGN(std::optional<bool> recursive, call.body.OptionalBool("recursive"));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::MakeDir what;
  CO_ASSIGN(what.path, co_await PathIn(call, place, "path"));
  what.parents = recursive.value_or(false);
  CO_TRY(co_await sandbox::Make(place.sandbox->agent(), std::move(what)));
  json::Writer writer = Success();
  writer.Field("path", call.body.Text("path").value_or(""));
  writer.Field("recursive", recursive.value_or(false));
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoExists(Call& call) {
  CO_TRY(CheckPath(call, "path"));
  CO_ASSIGN(Place place, co_await Enter(call));
  sandbox::StatFile what;
  CO_ASSIGN(what.path, co_await PathIn(call, place, "path"));
  CO_ASSIGN(bool exists, co_await sandbox::Exists(place.sandbox->agent(), std::move(what)));
  json::Writer writer = Success();
  writer.Field("path", call.body.Text("path").value_or("")).Field("exists", exists);
  co_return Finished(writer);
}

}  // namespace

std::string MimeTypeOf(std::string_view path, std::string_view begin) {
  std::string_view type = ContentTypeOf(path);
  if (type.empty()) type = ContentTypeOfBytes(begin);
  return std::string(type.substr(0, type.find(';')));
}

bool IsBinary(std::string_view content) { return content.contains('\0') || !json::IsUtf8(content); }

async::Task<> ReadFile(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoRead, services, std::move(values), exchange);
}

async::Task<> WriteFile(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerUpload(DoWrite, services, std::move(values), exchange);
}

async::Task<> DeleteFile(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoDelete, services, std::move(values), exchange);
}

async::Task<> RenameFile(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoRename, services, std::move(values), exchange);
}

async::Task<> MoveFile(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoMove, services, std::move(values), exchange);
}

async::Task<> MakeDir(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoMakeDir, services, std::move(values), exchange);
}

async::Task<> FileExists(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoExists, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
