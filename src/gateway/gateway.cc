// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <fmt/format.h>

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "gateway/host_port.h"
#include "gateway/origin.h"
#include "gateway/pages.h"
#include "http/request_id.h"
#include "metrics/atoll.h"

namespace atl::gateway {
namespace {

constexpr size_t kMostHostShown = 253;

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

async::Task<> RespondUnknownHost(http::Exchange& exchange, std::string_view domain) {
  const http::RequestHead& request = exchange.request();
  std::string host = request.host.substr(0, kMostHostShown);
  std::optional<HostPort> known = SplitHostPort(request.host);
  bool below = known && known->host.ends_with(fmt::format(".{}", domain));
  Error error{.code = Code::kNotFound, .message = {}, .reason = {}};
  if (below) {
    error.message = fmt::format("\"{}\" is the host of no sandbox and of no port of one", host);
    error.reason = "INVALID_SANDBOX_ID";
  } else {
    error.message = fmt::format("\"{}\" is not {} nor below it, which is all that is served here",
                                host, domain);
    error.reason = "UNKNOWN_HOST";
  }
  if (IsNavigation(request)) {
    metrics::CountError(error.reason);
    co_await RespondSentence(exchange, 404, "There is nothing here", error.message + ".", false);
  } else {
    co_await http::RespondError(exchange, std::move(error));
  }
}

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
    co_await RespondUnknownHost(exchange, options_.domain);
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
