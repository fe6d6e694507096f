// SPDX-License-Identifier: Apache-2.0
// Reading and writing one file for a client: by handing over a descriptor where the client can
// never be kept waiting by it, else frame by frame.
#pragma once

#include "agent/client_link.h"
#include "protocol/files.h"

namespace atl::agent {

Result<void> RunReadFile(const protocol::ReadFile& request, ClientLink* link);
Result<void> RunWriteFile(const protocol::WriteFile& request, ClientLink* link);
// In a child: it reads the sandbox's tables of users.
Result<void> RunWriteOwnedFile(const protocol::WriteOwnedFile& request, ClientLink* link);

}  // namespace atl::agent
