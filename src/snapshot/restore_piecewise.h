// SPDX-License-Identifier: Apache-2.0
// Restores without room for old and new side by side: what is to go goes first, then a few files at
// a time change place. Each step is whole, and what cannot be restored is reported.
#pragma once

#include "base/result.h"
#include "snapshot/restore_plan.h"
#include "snapshot/restore_world.h"

namespace atl::snapshot {

Result<void> RestorePiecewise(RestoreWorld& world, const Plan& plan);

}  // namespace atl::snapshot
