// SPDX-License-Identifier: Apache-2.0
#include "api/v1/sessions.h"

#include <chrono>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/v1/answers/commands.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/sessions.h"

namespace atl::api {
namespace {

constexpr int64_t kMaxTimeoutMs = 7LL * 24 * 60 * 60 * 1000;

using SandboxPtr = std::shared_ptr<sandbox::Sandbox>;

void WriteSession(json::Writer& writer, const sandbox::SessionInfo& info) {
  writer.BeginObject().Field("id", info.id).Field("cwd", info.cwd).Field("pid", info.pid);
  if (!info.user.empty()) writer.Field("user", info.user);
  writer.Field("createdAt", IsoTime(static_cast<int64_t>(info.created_ms)));
  writer.Field("commands", info.commands).Field("busy", info.busy).EndObject();
}

Result<sandbox::SessionRequest> ParseOpen(const json::Object& body) {
  sandbox::SessionRequest request;
  ASSIGN(std::optional<std::string> id, body.OptionalText("id"));
  request.id = id.value_or("");
  ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  if (cwd) request.cwd = *std::move(cwd);
  ASSIGN(request.env, body.OptionalTextMap("env"));
  ASSIGN(std::optional<std::string> user, body.OptionalText("user"));
  request.user = user.value_or("");
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeoutMs", {.min = 1, .max = kMaxTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  return request;
}

async::Task<Result<std::string>> DoOpen(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  CO_ASSIGN(sandbox::SessionRequest request, ParseOpen(body));
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(auto info, co_await sandbox::OpenSession(sandbox->agent(), std::move(request)));
  json::Writer writer;
  WriteSession(writer, info);
  co_return writer.Take();
}

async::Task<> OpenOne(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoOpen(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoList(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(auto all, co_await sandbox::ListSessions(sandbox->agent()));
  json::Writer writer;
  writer.BeginObject().Key("sessions").BeginArray();
  for (const sandbox::SessionInfo& info : all) WriteSession(writer, info);
  writer.EndArray().EndObject();
  co_return writer.Take();
}

async::Task<> ListAll(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoList(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoClose(const Services& services, Values values,
                                         http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_TRY(co_await sandbox::CloseSession(sandbox->agent(), std::move(values.at(1))));
  co_return R"({"success":true})";
}

async::Task<> CloseOne(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoClose(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

constexpr Field kOpenFields[] = {
    {.name = "id",
     .about = "1 to 128 letters, digits, '.', '_' and '-'; a new one when it is not there."},
    {.name = "cwd", .about = "Where it begins; /workspace when it is not there."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's."},
    {.name = "user", .about = "name, uid, uid:gid or name:group; root when it is not there."},
    {.name = "timeoutMs",
     .kind = Kind::kInteger,
     .about = "Of commands that have none of their own.",
     .min = 1,
     .max = static_cast<double>(kMaxTimeoutMs)},
};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/sessions",
     .operation = "openSession",
     .summary = "Opens a shell whose directory, variables and functions last between commands: "
                "\"session\" in exec.",
     .handler = OpenOne,
     .returns = &answers::kSession,
     .body = Media::kJson,
     .fields = kOpenFields},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/sessions",
     .operation = "listSessions",
     .summary = "The sessions that are open.",
     .handler = ListAll,
     .returns = &answers::kSessionList},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/sessions/{session}",
     .operation = "closeSession",
     .summary = "Ends it and everything that runs in it.",
     .handler = CloseOne,
     .returns = &answers::kDone},
};

}  // namespace

std::span<const Route> SessionRoutes() { return kRoutes; }

}  // namespace atl::api
