// SPDX-License-Identifier: Apache-2.0
#include "api/bridge/terms.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "json/writer.h"
#include "metrics/atoll.h"

namespace atl::api::bridge {

Failure FailureOf(const Error& error, std::string_view otherwise) {
  std::string_view reason = ReasonOf(error);
  if (reason == kReadNotFound) return {.status = 404, .code = kReadNotFound};
  if (reason == kNoRoute) return {.status = 404, .code = "invalid_request"};
  if (reason == "CAPACITY_EXCEEDED") return {.status = 503, .code = "capacity_exceeded"};
  switch (error.code) {
    case Code::kInvalidArgument:
      return {.status = 400, .code = "invalid_request"};
    case Code::kPermissionDenied:
      return {.status = 403, .code = "invalid_request"};
    case Code::kTooLarge:
      return {.status = 413, .code = "payload_too_large"};
    case Code::kUnavailable:
      return {.status = 503, .code = otherwise};
    default:
      return {.status = 502, .code = otherwise};
  }
}

std::string FailureJson(std::string_view message, std::string_view code) {
  json::Writer writer;
  writer.BeginObject().Field("error", message).Field("code", code).EndObject();
  return writer.Take();
}

async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string_view otherwise) {
  bool answered = co_await http::AnsweredElsewhere(exchange, error);
  if (answered) co_return;
  const http::RequestHead& request = exchange.request();
  Failure failure = FailureOf(error, otherwise);
  metrics::CountError(ReasonOf(error));
  if (failure.status >= 500) {
    log::Warning("{} http://{}{}: {} [{}]", request.method, request.host, request.path(),
                 error.message, exchange.request_id());
  }
  if (exchange.response_started()) {
    exchange.Abort();
    co_return;
  }
  http::ResponseHead head = http::ErrorHead(error);
  head.status = failure.status;
  Result<void> sent =
      co_await exchange.Respond(std::move(head), FailureJson(error.message, failure.code) + "\n");
  (void)sent;  // the client has gone away
}

async::Task<> RefuseMethod(http::Exchange& exchange, std::string allow) {
  const http::RequestHead& request = exchange.request();
  Error error{.code = Code::kInvalidArgument,
              .message = fmt::format("{} {}: use {}", request.method, request.path(), allow),
              .reason = "METHOD_NOT_ALLOWED"};
  metrics::CountError(error.reason);
  http::ResponseHead head = http::ErrorHead(error);
  head.status = 405;
  head.headers.Add("Allow", std::move(allow));
  std::string body = FailureJson(error.message, "invalid_request") + "\n";
  Result<void> sent = co_await exchange.Respond(std::move(head), std::move(body));
  (void)sent;  // the client has gone away
}

async::Task<> RespondOk(http::Exchange& exchange, Result<void> done, std::string_view otherwise) {
  if (!done) {
    co_await RespondFailure(exchange, std::move(done).error(), otherwise);
    co_return;
  }
  co_await RespondResult(exchange, R"({"ok":true})");
}

Result<void> CheckSessionId(std::string_view id) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  bool valid =
      !id.empty() && id.size() <= 128 && std::ranges::all_of(id, allowed) && !id.contains("..");
  if (valid) return {};
  return Fail(Code::kInvalidArgument,
              "the id of a session is 1 to 128 letters, digits, '.', '_' and '-', without \"..\"");
}

Result<std::string> WorkspacePath(std::string_view path) {
  std::string normal = (std::filesystem::path(kRoot) / path).lexically_normal().string();
  if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  if (normal == kRoot || normal.starts_with(fmt::format("{}/", kRoot))) return normal;
  return Fail(Code::kPermissionDenied,
              fmt::format("{:.200} is outside of {}: it must be below it", path, kRoot));
}

}  // namespace atl::api::bridge
