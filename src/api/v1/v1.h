// SPDX-License-Identifier: Apache-2.0
// Everything on the bare domain: the API and the dashboard that uses it.
#pragma once

#include <span>
#include <string>

#include "api/v1/route.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

class V1 {
 public:
  // `more`: the routes of other dialects.
  V1(sandbox::Registry& registry, opencode::Servers& servers, sandbox::Ports& ports,
     std::string domain, std::span<const Route> more = {});

  // Always answers.
  async::Task<> Handle(http::Exchange& exchange);

 private:
  async::Task<> Serve(const Route& route, Values values, http::Exchange& exchange);
  async::Task<> ServePage(http::Exchange& exchange);

  Services services_;
  RouteTable routes_;
};

// Every route of the API, and `more`.
RouteTable AllRoutes(std::span<const Route> more = {});

}  // namespace atl::api
