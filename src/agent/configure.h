// SPDX-License-Identifier: Apache-2.0
// A sandbox that was prepared for nobody becomes somebody's: its names and its environment.
#pragma once

#include <string>

#include "base/result.h"
#include "protocol/messages.h"

namespace atl::agent {

struct ConfigurePlaces {
  std::string hosts = "/etc/hosts";
  // Read by bash through BASH_ENV, which programs of a prepared sandbox are started with.
  std::string env_dir = "/.atoll";
  std::string env_file = "env.sh";
};

Result<void> RunConfigure(const protocol::Configure& request, const ConfigurePlaces& places = {});

}  // namespace atl::agent
