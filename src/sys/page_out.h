// SPDX-License-Identifier: Apache-2.0
// The pages of programs and libraries that a process maps, given back.
#pragma once

#include <sys/types.h>

namespace atl::sys {

// Asks the kernel to drop what `pid` alone maps of files (process_madvise(2), MADV_PAGEOUT). Such
// pages count for the group that read them first, which need not be the one that sleeps: reclaiming
// from a cgroup does not reach them. What several processes map stays. Nothing is lost: a page that
// is wanted again is read again. Does what it can, and says nothing of what it cannot.
void PageOutFiles(pid_t pid);

}  // namespace atl::sys
