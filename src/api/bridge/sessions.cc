// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sessions.h"

#include <optional>
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/file_json.h"
#include "json/reader.h"
#include "json/writer.h"

namespace atl::api::bridge {
namespace {

constexpr std::string_view kSessionFailed = "session_error";

async::Task<Result<std::string>> Open(const Services& services, std::string id,
                                      http::Exchange& exchange) {
  CO_ASSIGN(json::Object body, co_await ReadJsonBody(exchange));
  sandbox::SessionRequest request;
  CO_ASSIGN(std::optional<std::string> name, body.OptionalText("id"));
  if (name) {
    CO_TRY(CheckSessionId(*name));
    request.id = *std::move(name);
  }
  CO_ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  CO_ASSIGN(request.cwd, WorkspacePath(cwd.value_or("")));
  CO_ASSIGN(request.env, body.OptionalTextMap("env"));
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
  CO_TRY(co_await sandbox::CloseSession(sandbox->agent(), session));
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
