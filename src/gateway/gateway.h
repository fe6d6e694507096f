// SPDX-License-Identifier: Apache-2.0
// Routes a request by the first label of its host: the bare domain, a sandbox, a port of a sandbox,
// a sandbox as the Sandbox SDK has it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "gateway/reverse_proxy.h"
#include "gateway/upstream_pool.h"
#include "http/server.h"
#include "opencode/server.h"
#include "opencode/ui_cache.h"
#include "sandbox/ports.h"
#include "sandbox/registry.h"

namespace atl::gateway {

struct BareDomain {};
struct SandboxHost {
  std::string id;
};
struct PortHost {
  uint16_t port = 0;
  std::string id;
  std::string token;  // of a preview URL; empty: the owner's host
};
struct SdkHost {
  std::string id;
};
struct UnknownHost {};
using Route = std::variant<BareDomain, SandboxHost, PortHost, SdkHost, UnknownHost>;

// `host` as in the Host field, with or without a port. The bare domain is `domain`; for the domain
// `localhost` also 127.0.0.1 and [::1].
Route RouteHost(std::string_view host, std::string_view domain);

// The API's answer to a request: true when it has answered (or failed doing so).
using SeedHandler = std::function<async::Task<bool>(std::string id, http::Exchange& exchange)>;
using SdkHandler = std::function<async::Task<>(std::string id, http::Exchange& exchange)>;
using BareHandler = std::function<async::Task<>(http::Exchange& exchange)>;

struct Options {
  std::string domain = "localhost";
  bool event_stream_is_activity = false;
  opencode::UiCache* ui = nullptr;  // null: OpenCode alone serves its UI
};

class Gateway {
 public:
  // `seed` is asked first on a sandbox's host and answers what is its own (POST /create …);
  // `sdk` answers everything on `sdk--<id>`, `bare` everything on the bare domain. Requests from
  // foreign origins reach none of them.
  Gateway(Options options, sandbox::Registry& registry, opencode::Servers& servers,
          sandbox::Ports& ports, SeedHandler seed, SdkHandler sdk, BareHandler bare);

  async::Task<> Handle(http::Exchange& exchange);

 private:
  // opencode_host.cc
  async::Task<> HandleSandbox(std::string id, http::Exchange& exchange);
  async::Task<> ServeOpencode(std::string id, http::Exchange& exchange);
  async::Task<bool> AnswerPageHealth(const std::string& id, http::Exchange& exchange);
  async::Task<bool> HoldEvents(const std::string& id, http::Exchange& exchange);
  async::Task<bool> ServeUi(const std::string& id, http::Exchange& exchange);
  async::Task<bool> HoldUntilReady(const std::string& id, http::Exchange& exchange,
                                   sandbox::Waited& waited);
  // port_host.cc
  async::Task<> HandlePort(PortHost host, http::Exchange& exchange);
  async::Task<bool> AdmitPreview(const PortHost& host, http::Exchange& exchange, std::string& iid);
  async::Task<bool> PassThroughKept(const sandbox::Sandbox& sandbox, uint16_t port,
                                    http::Exchange& exchange, ProxyPolicy& policy);
  async::Task<> RespondNothingListens(PortHost host, http::Exchange& exchange);

  Options options_;
  sandbox::Registry& registry_;
  opencode::Servers& servers_;
  sandbox::Ports& ports_;
  UpstreamPool upstreams_;
  SeedHandler seed_;
  SdkHandler sdk_;
  BareHandler bare_;
};

}  // namespace atl::gateway
