// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sessions.h"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/seed/output_events.h"

namespace atl::api::sdk {
namespace {

// The name of a session, in a field that has another name here.
Result<std::string> NameIn(const json::Object& body, std::string_view field) {
  ASSIGN(std::string name, RequiredText(body, field));
  json::Writer writer;
  writer.BeginObject().Field("sessionId", name).EndObject();
  ASSIGN(json::Object one, json::Object::Parse(writer.Take()));
  ASSIGN(name, SessionOf(one));
  if (!name.empty()) return name;
  return Fail(Code::kInvalidArgument, "a session cannot have this id", "VALIDATION_FAILED");
}

async::Task<Result<std::string>> DoCreate(Call& call) {
  sandbox::SessionRequest request;
  if (call.body.Has("id")) {
    CO_ASSIGN(request.id, NameIn(call.body, "id"));
  } else {
    request.id = fmt::format("session-{}", NowMs());
  }
  call.About("sessionId", request.id);
  CO_ASSIGN(std::optional<std::string> cwd, call.body.OptionalText("cwd"));
  request.cwd = Joined(kWorkspace, cwd.value_or(""));
  CO_ASSIGN(request.env, EnvOf(call.body));
  CO_ASSIGN(request.timeout, TimeoutOf(call.body, "commandTimeoutMs"));
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto info, co_await sandbox::OpenSession(sandbox->agent(), std::move(request)));
  json::Writer writer = Success();
  writer.Field("id", info.id).Field("message", fmt::format("Session {} created", info.id));
  writer.Key("containerPlacementId").Null();
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoDelete(Call& call) {
  CO_ASSIGN(std::string name, NameIn(call.body, "sessionId"));
  call.About("sessionId", name);
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_TRY(co_await sandbox::CloseSessionAndTerminal(sandbox->agent(), name));
  json::Writer writer = Success();
  writer.Field("sessionId", name);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoList(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto sessions, co_await sandbox::ListSessions(sandbox->agent()));
  json::Writer writer = Success();
  writer.Field("count", sessions.size()).Key("sessions").BeginArray();
  for (const sandbox::SessionInfo& session : sessions) writer.String(session.id);
  writer.EndArray();
  co_return Finished(writer);
}

}  // namespace

async::Task<> CreateSession(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCreate, services, std::move(values), exchange);
}

async::Task<> DeleteSession(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoDelete, services, std::move(values), exchange);
}

async::Task<> ListSessions(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoList, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
