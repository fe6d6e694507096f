// SPDX-License-Identifier: Apache-2.0
// Whether PID 1 of a sandbox, as the host sees it, lives. It ends after all that it takes along.
#pragma once

#include <sys/types.h>

namespace atl::sandbox {

// By its pidfd, which tells of it for ever.
bool HasEnded(int pidfd);
// Whether it, which may still be there for long, is on its way out: killed, but not ended.
bool IsEnding(pid_t pid);
// Waits for its end, ten seconds at most. Blocks.
void AwaitEnd(int pidfd);

}  // namespace atl::sandbox
