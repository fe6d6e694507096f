// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/verbs.h"

namespace atl::cli {

Result<daemon::Config> ConfigOf(const Globals& globals) {
  return daemon::LoadConfig(globals.config_file, daemon::ProcessEnvironment());
}

Result<void> AppendEnv(json::Writer& body, const std::vector<std::string>& pairs) {
  if (pairs.empty()) return {};
  body.Key("env").BeginObject();
  for (const std::string& pair : pairs) {
    size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(Code::kInvalidArgument, fmt::format("--env {}: write KEY=value", pair));
    }
    body.Field(pair.substr(0, equals), pair.substr(equals + 1));
  }
  body.EndObject();
  return {};
}

Result<int> Version(const Globals& globals) {
  if (globals.json) {
    fmt::print("{{\"version\":\"{}\"}}\n", ATOLL_VERSION);
  } else {
    fmt::print("atoll {}\n", ATOLL_VERSION);
  }
  return 0;
}

}  // namespace atl::cli
