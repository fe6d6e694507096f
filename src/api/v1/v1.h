// SPDX-License-Identifier: Apache-2.0
// Everything on the bare domain: the API and the dashboard that uses it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/seed/actions.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

class V1 {
 public:
  V1(sandbox::Registry& registry, opencode::Servers& servers, std::string domain)
      : services_{.registry = registry, .servers = servers, .domain = std::move(domain)} {}

  // Always answers.
  async::Task<> Handle(http::Exchange& exchange);

 private:
  async::Task<> HandleSandbox(std::string id, http::Exchange& exchange);
  async::Task<> HandleAction(std::string id, std::vector<std::string> rest,
                             http::Exchange& exchange);
  async::Task<> RespondList(http::Exchange& exchange);

  Services services_;
};

// "/v1/sandboxes/demo/run" as {"v1", "sandboxes", "demo", "run"}; an empty part is none of a path.
std::vector<std::string> PathParts(std::string_view path);

}  // namespace atl::api
