// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sessions.h"

#include <chrono>
#include <optional>
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/seed/requests.h"
#include "api/v1/file_json.h"
#include "json/reader.h"
#include "json/writer.h"

namespace atl::api::bridge {
namespace {

constexpr std::string_view kSessionFailed = "session_error";
constexpr int64_t kMostTimeoutMs = 7LL * 24 * 60 * 60 * 1000;

// A session may begin anywhere: the bridge keeps only commands and files in the workspace.
Result<sandbox::SessionRequest> ParseSession(const json::Object& body) {
  sandbox::SessionRequest request;
  ASSIGN(std::optional<std::string> name, body.OptionalText("id"));
  if (name && !name->empty()) {
    TRY(CheckSessionId(*name));
    request.id = *std::move(name);
  }
  ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  if (cwd && cwd->starts_with('/')) {
    request.cwd = *std::move(cwd);
  } else if (cwd) {
    ASSIGN(request.cwd, WorkspacePath(*cwd));
  }
  ASSIGN(request.env, EnvWithoutNulls(body, "env"));
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("commandTimeoutMs", {.min = 1, .max = kMostTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  return request;
}

async::Task<Result<std::string>> Open(const Services& services, std::string id,
                                      http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  Result<json::Object> body = json::Object::Parse(text, true);
  // To the bridge, what is no object says nothing.
  if (!body) body = json::Object::Parse("", true);
  CO_ASSIGN(sandbox::SessionRequest request, ParseSession(*body));
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, std::move(id), exchange));
  CO_ASSIGN(auto info, co_await sandbox::OpenSession(sandbox->agent(), std::move(request)));
  json::Writer writer;
  writer.BeginObject().Field("id", info.id).EndObject();
  co_return writer.Take();
}

async::Task<Result<std::string>> Close(const Services& services, Values values,
                                       http::Exchange& exchange) {
  std::string session = values.at(1);
  CO_TRY(CheckSessionId(session));
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, std::move(values[0]), exchange));
  CO_TRY(co_await sandbox::CloseSessionAndTerminal(sandbox->agent(), session));
  json::Writer writer;
  writer.BeginObject().Field("success", true).Field("sessionId", session).EndObject();
  co_return writer.Take();
}

async::Task<> Respond(http::Exchange& exchange, Result<std::string> json) {
  if (!json) {
    co_await RespondFailure(exchange, std::move(json).error(), kSessionFailed);
    co_return;
  }
  co_await RespondResult(exchange, std::move(json));
}

}  // namespace

async::Task<> OpenSession(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await Open(services, std::move(values.at(0)), exchange);
  co_await Respond(exchange, std::move(json));
}

async::Task<> CloseSession(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await Close(services, std::move(values), exchange);
  co_await Respond(exchange, std::move(json));
}

}  // namespace atl::api::bridge
