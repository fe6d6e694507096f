// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include "gateway/origin.h"

namespace atl::gateway {

Gateway::Gateway(Options options, sandbox::Registry& registry, opencode::Servers& servers,
                 SeedHandler seed, BareHandler bare)
    : options_(std::move(options)),
      registry_(registry),
      servers_(servers),
      seed_(std::move(seed)),
      bare_(std::move(bare)) {}

async::Task<> Gateway::Handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  Route route = RouteHost(request.host, options_.domain);
  if (std::holds_alternative<UnknownHost>(route)) {
    http::ResponseHead nothing;
    nothing.status = 404;
    (void)co_await exchange.Respond(std::move(nothing), std::string());
    co_return;
  }
  Result<void> allowed = CheckOrigin(request, route, options_.domain);
  if (!allowed) {
    co_await http::RespondError(exchange, std::move(allowed).error());
    co_return;
  }
  if (auto* sandbox = std::get_if<SandboxHost>(&route)) {
    co_await HandleSandbox(std::move(sandbox->id), exchange);
  } else if (auto* port = std::get_if<PortHost>(&route)) {
    co_await HandlePort(std::move(*port), exchange);
  } else {
    co_await bare_(exchange);
  }
}

}  // namespace atl::gateway
