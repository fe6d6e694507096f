// SPDX-License-Identifier: Apache-2.0
// Which of several snapshots was taken last.
#pragma once

#include <vector>

#include "repository/records.h"

namespace atl::snapshot {

// Of snapshots of one sandbox and directory, oldest first by their times. The times decide unless
// one names another that is newer by them as the one before it: a clock that was set back gives
// what is taken later the earlier time.
const repository::SnapshotRecord* Latest(
    const std::vector<const repository::SnapshotRecord*>& records);

}  // namespace atl::snapshot
