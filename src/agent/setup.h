// SPDX-License-Identifier: Apache-2.0
// What PID 1 does for the sandbox's file system at its start.
#pragma once

#include "base/result.h"

namespace atl::agent {

// Gives the host name an address in /etc/hosts and makes /workspace. What exists is left alone.
void PrepareFileSystem();

}  // namespace atl::agent
