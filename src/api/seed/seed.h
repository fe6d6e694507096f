// SPDX-License-Identifier: Apache-2.0
// The routes on a sandbox's own host that are not OpenCode's.
#pragma once

#include <string>

#include "api/seed/actions.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

class Seed {
 public:
  Seed(sandbox::Registry& registry, opencode::Servers& servers, sandbox::Ports& ports,
       std::string domain)
      : services_{.registry = registry,
                  .servers = servers,
                  .ports = ports,
                  .domain = std::move(domain),
                  .openapi = {}} {}

  // True when the request was one of its own, and has been answered.
  async::Task<bool> Handle(std::string id, http::Exchange& exchange);

 private:
  Services services_;
};

}  // namespace atl::api
