// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/sdk.h"

#include <fmt/format.h>

#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/socket.h"
#include "api/sdk/terms.h"

namespace atl::api {
namespace {

constexpr Field kPtyQuery[] = {
    {.name = "sessionId"},
    {.name = "cols", .kind = Kind::kInteger, .min = 1, .max = 1000},
    {.name = "rows", .kind = Kind::kInteger, .min = 1, .max = 1000},
    {.name = "shell"},
    {.name = "command"},
    {.name = "cwd", .kind = Kind::kPath},
};

constexpr Route kRoutes[] = {
    {.method = "GET", .pattern = "/", .handler = sdk::Root},
    {.method = "GET", .pattern = "/api/ping", .handler = sdk::Ping},
    {.method = "GET", .pattern = "/api/version", .handler = sdk::Version},
    {.method = "GET", .pattern = "/api/commands", .handler = sdk::ListCommands},
    {.method = "GET", .pattern = "/ws/pty", .handler = sdk::Pty, .query = kPtyQuery},
    {.method = "GET", .pattern = "/rpc", .handler = sdk::NoRpc},

    {.method = "POST", .pattern = "/api/execute", .handler = sdk::Execute},
    {.method = "POST", .pattern = "/api/execute/stream", .handler = sdk::ExecuteStream},

    {.method = "POST", .pattern = "/api/session/create", .handler = sdk::CreateSession},
    {.method = "POST", .pattern = "/api/session/delete", .handler = sdk::DeleteSession},
    {.method = "GET", .pattern = "/api/session/list", .handler = sdk::ListSessions},

    {.method = "POST", .pattern = "/api/read", .handler = sdk::ReadFile},
    {.method = "POST", .pattern = "/api/read/stream", .handler = sdk::ReadFileStream},
    {.method = "POST", .pattern = "/api/write", .handler = sdk::WriteFile},
    {.method = "POST", .pattern = "/api/delete", .handler = sdk::DeleteFile},
    {.method = "POST", .pattern = "/api/rename", .handler = sdk::RenameFile},
    {.method = "POST", .pattern = "/api/move", .handler = sdk::MoveFile},
    {.method = "POST", .pattern = "/api/mkdir", .handler = sdk::MakeDir},
    {.method = "POST", .pattern = "/api/list-files", .handler = sdk::ListFiles},
    {.method = "POST", .pattern = "/api/exists", .handler = sdk::FileExists},

    {.method = "POST", .pattern = "/api/process/start", .handler = sdk::StartProcess},
    {.method = "GET", .pattern = "/api/process/list", .handler = sdk::ListProcesses},
    {.method = "DELETE", .pattern = "/api/process/kill-all", .handler = sdk::KillAllProcesses},
    {.method = "GET", .pattern = "/api/process/{process}", .handler = sdk::GetProcess},
    {.method = "DELETE", .pattern = "/api/process/{process}", .handler = sdk::KillProcess},
    {.method = "GET", .pattern = "/api/process/{process}/logs", .handler = sdk::ProcessLogs},
    {.method = "GET",
     .pattern = "/api/process/{process}/stream",
     .handler = sdk::StreamProcessLogs},

    {.method = "POST", .pattern = "/api/port-watch", .handler = sdk::WatchPort},
    {.method = "POST", .pattern = "/api/expose-port", .handler = sdk::ExposePort},
    {.method = "GET", .pattern = "/api/exposed-ports", .handler = sdk::ListExposedPorts},
    {.method = "DELETE", .pattern = "/api/exposed-ports/{port}", .handler = sdk::UnexposePort},

    {.method = "POST", .pattern = "/api/git/checkout", .handler = sdk::GitCheckout},

    {.method = "POST", .pattern = "/api/watch", .handler = sdk::WatchFiles},
    {.method = "POST", .pattern = "/api/watch/check", .handler = sdk::CheckChanges},

    {.method = "POST", .pattern = "/api/backup/create", .handler = sdk::CreateBackup},
    {.method = "POST", .pattern = "/api/backup/restore", .handler = sdk::RestoreBackup},
    {.method = "POST", .pattern = "/api/backup/upload-parts", .handler = sdk::NoUploadParts},

    {.method = "GET", .pattern = "/api/interpreter/health", .handler = sdk::InterpreterHealth},
    {.method = "GET", .pattern = "/api/contexts", .handler = sdk::ListContexts},
    {.method = "POST", .pattern = "/api/contexts", .handler = sdk::CreateContext},
    {.method = "DELETE", .pattern = "/api/contexts/{context}", .handler = sdk::DeleteContext},
    {.method = "POST", .pattern = "/api/execute/code", .handler = sdk::RunCode},
};

Error Missing(std::string_view path) {
  return {.code = Code::kNotFound,
          .message = fmt::format("the Sandbox SDK has no route {:.200}", path)};
}

async::Task<> RefuseMethod(http::Exchange& exchange, std::string allow) {
  const http::RequestHead& request = exchange.request();
  Error error{.code = Code::kInvalidArgument,
              .message = fmt::format("{} {:.200}: use {}", request.method, request.path(), allow),
              .reason = "METHOD_NOT_ALLOWED"};
  http::ResponseHead head = http::ErrorHead(error);
  head.status = sdk::FailureOf(error).status;
  head.headers.Set("Allow", std::move(allow));
  Result<void> sent = co_await exchange.Respond(std::move(head), sdk::FailureJson(error, {}));
  (void)sent;  // the client has gone away
}

}  // namespace

Sdk::Sdk(sandbox::Registry& registry, opencode::Servers& servers, sandbox::Ports& ports,
         std::string domain)
    : services_{.registry = registry,
                .servers = servers,
                .ports = ports,
                .domain = std::move(domain),
                .openapi = {}},
      routes_({kRoutes}) {}

async::Task<> Sdk::Handle(std::string id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  if (request.path() == "/ws" && request.method == "GET") {
    sdk::Dispatch dispatch = [this, id](http::Exchange& one) { return Handle(id, one); };
    co_await sdk::ServeSocket(std::move(dispatch), exchange);
    co_return;
  }
  Result<RouteTable::Match> match = routes_.Find(request.method, request.path());
  if (!match) {
    co_await sdk::RespondFailure(exchange, std::move(match).error());
  } else if (match->route != nullptr) {
    Result<void> asked = CheckQuery(match->route->query, request.query());
    if (!asked) {
      co_await sdk::RespondFailure(exchange, std::move(asked).error());
      co_return;
    }
    match->values.insert(match->values.begin(), std::move(id));
    co_await match->route->handler(services_, std::move(match->values), exchange);
  } else if (!match->allow.empty()) {
    co_await RefuseMethod(exchange, std::move(match->allow));
  } else {
    co_await sdk::RespondFailure(exchange, Missing(request.path()));
  }
}

}  // namespace atl::api
