// SPDX-License-Identifier: Apache-2.0
// Who may change a directory by a restore: one process at a time.
#pragma once

#include <optional>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

// Held until it is closed, at the latest when the process ends; the directory stays open meanwhile.
// Nothing when somebody has it. It is a name of the sandbox's network and not a lock on the
// directory: programs lock their own directories, and that is no reason not to restore them.
Result<std::optional<sys::Fd>> LockDir(int dir);

}  // namespace atl::agent
