// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sandbox {

// A blocking connection to an agent's socket; paths longer than sun_path work.
// CONTAINER_UNAVAILABLE when nobody listens any more.
Result<sys::Fd> ConnectAgent(const std::string& path);

}  // namespace atl::sandbox
