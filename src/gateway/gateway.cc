// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <tuple>
#include <vector>

#include "gateway/origin.h"
#include "http/request_id.h"
#include "metrics/atoll.h"

namespace atl::gateway {
namespace {

std::string_view ClassOf(int status) {
  switch (status / 100) {
    case 1:
      return "1xx";
    case 2:
      return "2xx";
    case 3:
      return "3xx";
    case 4:
      return "4xx";
    case 5:
      return "5xx";
    default:
      return "none";
  }
}

// Looking one up takes a lock and a few allocations, so a thread remembers those it has used.
metrics::Counter& CounterOf(std::string_view route, int status) {
  thread_local std::vector<std::tuple<const char*, int, metrics::Counter*>> known;
  int group = status / 100;
  for (const auto& [of_route, of_group, counter] : known) {
    if (of_route == route.data() && of_group == group) return *counter;
  }
  metrics::Counter& counter = metrics::Get().http_requests.With({route, ClassOf(status)});
  known.emplace_back(route.data(), group, &counter);
  return counter;
}

// Counts a request however it ends. Programs inside choose their statuses, so that only the classes
// are told apart.
class CountedRequest {
 public:
  explicit CountedRequest(const http::Exchange& exchange) : exchange_(exchange) {}
  ~CountedRequest() { CounterOf(route_, exchange_.status()).Add(); }
  CountedRequest(const CountedRequest&) = delete;
  CountedRequest& operator=(const CountedRequest&) = delete;
  void SetRoute(std::string_view route) { route_ = route; }

 private:
  const http::Exchange& exchange_;
  metrics::Held in_flight_{metrics::Get().http_requests_in_flight};
  std::string_view route_ = "unknown";  // a literal
};

std::string_view NameOf(const Route& route) {
  if (std::holds_alternative<BareDomain>(route)) return "bare";
  if (std::holds_alternative<SandboxHost>(route)) return "sandbox";
  if (std::holds_alternative<PortHost>(route)) return "port";
  if (std::holds_alternative<SdkHost>(route)) return "sdk";
  return "unknown";
}

}  // namespace

Gateway::Gateway(Options options, sandbox::Registry& registry, opencode::Servers& servers,
                 sandbox::Ports& ports, SeedHandler seed, SdkHandler sdk, BareHandler bare)
    : options_(std::move(options)),
      registry_(registry),
      servers_(servers),
      ports_(ports),
      seed_(std::move(seed)),
      sdk_(std::move(sdk)),
      bare_(std::move(bare)) {}

async::Task<> Gateway::Handle(http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  CountedRequest counted(exchange);
  exchange.SetRequestId(http::ChooseRequestId(request));
  Route route = RouteHost(request.host, options_.domain);
  counted.SetRoute(NameOf(route));
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
  } else if (auto* sdk = std::get_if<SdkHost>(&route)) {
    co_await sdk_(std::move(sdk->id), exchange);
  } else {
    co_await bare_(exchange);
  }
}

}  // namespace atl::gateway
