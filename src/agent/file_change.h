// SPDX-License-Identifier: Apache-2.0
// What clients do with entries of directories, one at a time.
#pragma once

#include "agent/client_link.h"
#include "protocol/files.h"

namespace atl::agent {

Result<void> RunStatFile(const protocol::StatFile& request, ClientLink* link);
Result<void> RunMakeDir(const protocol::MakeDir& request, ClientLink* link);
Result<void> RunMoveFile(const protocol::MoveFile& request, ClientLink* link);
Result<void> RunRemoveFile(const protocol::RemoveFile& request, ClientLink* link);
Result<void> RunSetFile(const protocol::SetFile& request, ClientLink* link);

}  // namespace atl::agent
