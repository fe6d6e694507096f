// SPDX-License-Identifier: Apache-2.0
// Finishes or undoes what restores that were killed left in a directory. Whoever looks at a
// directory next does it: a walk, a restore, the agent's start.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace atl::agent {

// Only renames and the like, and nothing while a restore is running.
Result<void> SettleLeftovers(int root);

// The directories that automatic snapshots are restored to, as far as a restore left something in
// them.
std::vector<std::string> DirsToSettle();

// `settle DIR...`
int SettleMain(const std::vector<std::string>& dirs);

}  // namespace atl::agent
