// SPDX-License-Identifier: Apache-2.0
#include "api/v1/v1.h"

#include <fmt/format.h>

#include <utility>

#include "api/v1/archive.h"
#include "api/v1/assets.h"
#include "api/v1/buckets.h"
#include "api/v1/code.h"
#include "api/v1/exec.h"
#include "api/v1/exec_socket.h"
#include "api/v1/files.h"
#include "api/v1/fs.h"
#include "api/v1/git.h"
#include "api/v1/mcp.h"
#include "api/v1/openapi.h"
#include "api/v1/pool.h"
#include "api/v1/ports.h"
#include "api/v1/processes.h"
#include "api/v1/sandboxes.h"
#include "api/v1/sessions.h"
#include "api/v1/snapshots.h"
#include "api/v1/strict_exchange.h"
#include "api/v1/terminal.h"
#include "api/v1/watch.h"

namespace atl::api {
namespace {

// The page talks to its own origin alone and runs no code but its files.
constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

Error NotThere(const http::RequestHead& request, std::string_view reason = {}) {
  return Error{.code = Code::kNotFound,
               .message = fmt::format("there is nothing at {:.200}", request.path()),
               .reason = std::string(reason)};
}

async::Task<> RespondAsset(http::Exchange& exchange, const Asset& asset) {
  http::ResponseHead head;
  head.headers.Add("Content-Type", std::string(ContentType(asset.name)));
  head.headers.Add("Cache-Control", "no-cache");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  head.headers.Add("Referrer-Policy", "no-referrer");
  head.headers.Add("Content-Security-Policy", std::string(kPagePolicy));
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string(asset.content));
  (void)sent;  // the client has gone away
}

}  // namespace

RouteTable AllRoutes(std::span<const Route> more) {
  return RouteTable({SandboxRoutes(), ExecRoutes(), ExecSocketRoutes(), ProcessRoutes(),
                     SessionRoutes(), CodeRoutes(), FileRoutes(), FsRoutes(), ArchiveRoutes(),
                     GitRoutes(), WatchRoutes(), SnapshotRoutes(), BucketRoutes(), PoolRoutes(),
                     PortRoutes(), TerminalRoutes(), McpRoutes(), OpenApiRoutes(), more});
}

V1::V1(sandbox::Registry& registry, opencode::Servers& servers, sandbox::Ports& ports,
       std::string domain, std::span<const Route> more)
    : services_{.registry = registry,
                .servers = servers,
                .ports = ports,
                .domain = std::move(domain),
                .openapi = {}},
      routes_(AllRoutes(more)) {
  services_.openapi = OpenApiJson(routes_);
}

async::Task<> V1::Handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Result<RouteTable::Match> match = routes_.Find(request.method, request.path());
  const ErrorStyle* style = routes_.StyleOf(request.path());
  if (match && match->route != nullptr) {
    co_await Serve(*match->route, std::move(match->values), exchange);
  } else if (style != nullptr && match && !match->allow.empty()) {
    co_await style->refuse_method(exchange, std::move(match->allow));
  } else if (style != nullptr) {
    Error error = match ? NotThere(request, kNoRoute) : std::move(match).error();
    co_await style->respond(exchange, std::move(error));
  } else if (!match) {
    co_await http::RespondError(exchange, std::move(match).error());
  } else if (!match->allow.empty()) {
    co_await RespondMethodNotAllowed(exchange, std::move(match->allow));
  } else {
    co_await ServePage(exchange);
  }
}

async::Task<> V1::Serve(const Route& route, Values values, http::Exchange& exchange) {
  Result<void> asked = CheckQuery(route.query, exchange.request().query());
  if (asked) asked = CheckHeaders(route.headers, exchange.request().headers);
  // Clients of other dialects send what is for others.
  bool strict = route.body == Media::kJson && route.errors == nullptr;
  if (asked && strict) {
    StrictExchange checked(exchange, route.fields);
    co_await route.handler(services_, std::move(values), checked);
  } else if (asked) {
    co_await route.handler(services_, std::move(values), exchange);
  } else if (route.errors != nullptr) {
    co_await route.errors->respond(exchange, std::move(asked).error());
  } else {
    co_await http::RespondError(exchange, std::move(asked).error());
  }
}

async::Task<> V1::ServePage(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  bool explore = request.path() == "/v1/openapi.html";
  const Asset* asset = FindAsset(explore ? "/explore.html" : std::string(request.path()));
  if (asset == nullptr) {
    co_await http::RespondError(exchange, NotThere(request));
  } else if (request.method != "GET" && request.method != "HEAD") {
    co_await RespondMethodNotAllowed(exchange, "GET, HEAD");
  } else {
    co_await RespondAsset(exchange, *asset);
  }
}

}  // namespace atl::api
