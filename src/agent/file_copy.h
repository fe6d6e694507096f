// SPDX-License-Identifier: Apache-2.0
// Copies entries inside a sandbox: content (shared where the file system can), mode, owner, times,
// symlinks as they are. Sockets and devices are left out.
#pragma once

#include "agent/client_link.h"
#include "agent/file_place.h"
#include "protocol/files.h"

namespace atl::agent {

struct CopyOptions {
  bool recursive = false;
  bool overwrite = true;
};

// Follows no symlink but where the caller has. A copy that failed in the middle is removed.
Result<void> CopyTree(const Place& from, const Place& to, CopyOptions options);

Result<void> RunCopyFile(const protocol::CopyFile& request, ClientLink* link);

}  // namespace atl::agent
