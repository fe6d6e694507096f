// SPDX-License-Identifier: Apache-2.0
// The wall clock: for what people see and for what outlives the host's boot. It may jump. How long
// something takes or has lasted is told by std::chrono::steady_clock.
#pragma once

#include <cstdint>

namespace atl {

int64_t NowMs();       // of Unix time
int64_t NowSeconds();  // of Unix time
// Since the host's boot, also while it was suspended. Never jumps.
int64_t SinceBootMs();

}  // namespace atl
