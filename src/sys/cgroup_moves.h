// SPDX-License-Identifier: Apache-2.0
// How long it takes the kernel to move a process from one cgroup to another.
#pragma once

#include "base/result.h"
#include "sys/cgroup.h"

namespace atl::sys {

// Switches on `favordynmods` (cgroup-v2.rst, Linux 6.0): without it each move waits for a grace
// period of RCU, 10 ms and more on a host that is idle, and a sandbox begins with two moves. It is
// an option of the one cgroup2 file system that the host has and holds for cgroup v1, too; the
// price is a lock that forks and exits take. The other options stay as they are, and it stays on
// when the daemon ends. Call it where that file system is mounted; kFailedPrecondition,
// CGROUP2_MISSING, where it is not.
Result<void> FavorCgroupMoves(const CgroupHost& host = {});

// Whether it is on. False where no cgroup2 is mounted.
Result<bool> FavorsCgroupMoves(const CgroupHost& host = {});

}  // namespace atl::sys
