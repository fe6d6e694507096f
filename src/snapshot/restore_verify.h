// SPDX-License-Identifier: Apache-2.0
// Compares files in place with what a snapshot says of their content.
#pragma once

#include <span>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "repository/repository.h"
#include "snapshot/agent_tree.h"
#include "snapshot/restore_plan.h"

namespace atl::snapshot {

// Settles all that is unknown, over `workers` connections.
Result<void> CompareCandidates(const repository::Repository& repository, AgentTree& tree,
                               const std::string& dir, std::span<Candidate> candidates, int workers,
                               std::stop_token stop);

// The id of a blob of `length` zeros; the last few lengths are remembered.
repository::Id ZeroId(uint64_t length);
bool IsZeroBlob(const repository::PackedBlob& blob);

}  // namespace atl::snapshot
