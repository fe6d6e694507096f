// SPDX-License-Identifier: Apache-2.0
#include "api/v1/file_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "api/seed/output_events.h"
#include "metrics/atoll.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

constexpr size_t kMostPatterns = 256;

}  // namespace

void WriteFileInfo(json::Writer& writer, std::string_view path, const sandbox::FileInfo& info) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  writer.BeginObject().Field("path", path).Field("name", name);
  writer.Field("type", sandbox::KindName(info.kind)).Field("size", info.size);
  writer.Field("mode", fmt::format("{:04o}", info.mode));
  writer.Field("uid", info.uid).Field("gid", info.gid);
  writer.Field("modifiedAt", IsoTime(sandbox::ModifiedMs(info)));
  if (info.kind == sandbox::FileKind::kSymlink) writer.Field("target", info.target);
  writer.EndObject();
}

std::string FileJson(std::string_view path, const sandbox::FileInfo& info) {
  json::Writer writer;
  std::string absolute = sandbox::AbsolutePath(path).value_or(std::string(path));
  WriteFileInfo(writer, absolute, info);
  return writer.Take();
}

Result<uint32_t> ParseMode(std::string_view text) {
  uint32_t mode = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error == std::errc() && end == text.data() + text.size() && mode <= 07777U) return mode;
  return Fail(Code::kInvalidArgument, "\"mode\" must be octal: \"0644\"", "VALIDATION_FAILED");
}

Result<std::optional<uint64_t>> QueryNumber(const http::RequestHead& request,
                                            std::string_view name) {
  std::string text = Query(request, name);
  if (text.empty()) return std::nullopt;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" must be a number", name),
              "VALIDATION_FAILED");
}

bool QueryFlag(const http::RequestHead& request, std::string_view name) {
  auto text = http::QueryParameter(request.query(), name);
  return text && (text->empty() || *text == "1" || *text == "true");
}

std::vector<std::string> SplitList(std::string_view list) {
  std::vector<std::string> parts;
  while (!list.empty() && parts.size() <= kMostPatterns) {
    size_t end = std::min(list.find(','), list.size());
    if (end > 0) parts.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> AcquireOrCreate(const Services& services,
                                                                       std::string id,
                                                                       http::Exchange& exchange) {
  CO_TRY(sandbox::ValidateId(id));
  sandbox::Waited waited;
  Result<std::shared_ptr<sandbox::Sandbox>> sandbox =
      co_await services.registry.Acquire(id, &waited);
  if (!sandbox && ReasonOf(sandbox.error()) == "SANDBOX_NOT_FOUND") {
    sandbox::CreateOptions options;
    CO_TRY(co_await services.registry.Create(id, std::move(options)));
    sandbox = co_await services.registry.Acquire(id, &waited);
  }
  waited.SayIn(exchange);
  co_return sandbox;
}

async::Task<Result<json::Object>> ReadJsonBody(http::Exchange& exchange) {
  CO_ASSIGN(std::string body, co_await exchange.ReadBody(kMaxBodyBytes));
  co_return json::Object::Parse(body, true);
}

void AddContentPolicy(http::ResponseHead& head) {
  head.headers.Set("X-Content-Type-Options", "nosniff");
  head.headers.Set("Content-Security-Policy", "sandbox; default-src 'none'");
  head.headers.Set("Cross-Origin-Resource-Policy", "same-origin");
}

std::string Attachment(std::string_view path, std::string_view suffix) {
  std::string name;
  for (char c : path.substr(path.rfind('/') + 1)) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '-' || c == '_';
    name += plain ? c : '_';
  }
  if (name.empty()) name = "file";
  return fmt::format("attachment; filename=\"{}{}\"", name, suffix);
}

async::Task<> RespondNoRange(http::Exchange& exchange, uint64_t size) {
  Error error{.code = Code::kInvalidArgument,
              .message = fmt::format("the range begins behind the end: there are {} bytes", size),
              .reason = "RANGE_NOT_SATISFIABLE"};
  metrics::CountError(error.reason);
  http::ResponseHead head = http::ErrorHead(error);
  head.status = 416;
  head.headers.Set("Content-Range", fmt::format("bytes */{}", size));
  Result<void> sent = co_await exchange.Respond(std::move(head), http::ErrorBody(error, &exchange));
  (void)sent;  // the client has gone away
}

async::Task<> RespondNothing(http::Exchange& exchange) {
  http::ResponseHead head;
  head.status = 204;
  head.headers.Add("Cache-Control", "no-store");
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

}  // namespace atl::api
