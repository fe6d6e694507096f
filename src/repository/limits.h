// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "repository/pack.h"

namespace atl::repository {

constexpr uint64_t MaxPlain(BlobType type) {
  return type == BlobType::kTree ? kMaxTreeBlob : kMaxDataBlob;
}

// That a blob can lie in a pack and be as large as it says. REPOSITORY_CORRUPT otherwise.
Result<void> CheckBounds(const PackedBlob& blob);

}  // namespace atl::repository
