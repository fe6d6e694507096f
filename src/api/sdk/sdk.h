// SPDX-License-Identifier: Apache-2.0
// What the clients of the Sandbox SDK talk to: everything on `sdk--<id>`.
#pragma once

#include <string>

#include "api/v1/route.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

class Sdk {
 public:
  Sdk(sandbox::Registry& registry, opencode::Servers& servers, sandbox::Ports& ports,
      std::string domain);

  // Always answers. `id`: a valid one, of a sandbox that its first use makes.
  async::Task<> Handle(std::string id, http::Exchange& exchange);

 private:
  Services services_;
  RouteTable routes_;
};

}  // namespace atl::api
