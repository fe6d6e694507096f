// SPDX-License-Identifier: Apache-2.0
// Copies of a sandbox, for whatever routes offer them.
#pragma once

#include <optional>
#include <string>

#include "api/seed/actions.h"
#include "json/reader.h"
#include "sandbox/registry.h"

namespace atl::api {

struct ForkBody {
  sandbox::ForkRequest request;
  std::optional<bool> opencode;  // as in CreateRequest
};
// {"id"?, "count"?, "memory"?, "opencode"?}
Result<ForkBody> ParseFork(const json::Object& body);

async::Task<> Fork(const Services& services, std::string id, http::Exchange& exchange);

}  // namespace atl::api
