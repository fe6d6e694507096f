// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/verbs.h"

namespace atl::cli {

Result<daemon::Config> ConfigOf(const Globals& globals) {
  return daemon::LoadConfig(globals.config_file, daemon::ProcessEnvironment());
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
