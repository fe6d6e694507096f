// SPDX-License-Identifier: Apache-2.0
// A copy is to its original what a child of a fork is: what is to be empty in one (MADV_WIPEONFORK)
// is empty in the other. Libraries of cryptography tell by it that they must seed themselves anew.
#pragma once

#include <vector>

#include "base/result.h"

namespace atl::oci {

// Empties it in these, whatever they are at; they lose no more by it than a fork would have cost.
Result<void> WipeAsInFork(const std::vector<int>& processes);

}  // namespace atl::oci
