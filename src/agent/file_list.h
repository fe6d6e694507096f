// SPDX-License-Identifier: Apache-2.0
// Lists directories and finds files in them.
#pragma once

#include "agent/client_link.h"
#include "protocol/files.h"

namespace atl::agent {

Result<void> RunListFiles(const protocol::ListFiles& request, ClientLink* link);

}  // namespace atl::agent
