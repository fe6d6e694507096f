// SPDX-License-Identifier: Apache-2.0
// How far a snapshot or a restore is. Called from any thread, at most every 100 ms and once at the
// end of each phase; must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace atl::snapshot {

struct Progress {
  std::string_view phase;  // "lock", "walk", "read", "store"; "plan", "stage", "commit", "clean"
  uint64_t files_done = 0;
  uint64_t files_total = 0;  // 0: not known yet
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // 0: not known yet
};
using OnProgress = std::function<void(const Progress&)>;

}  // namespace atl::snapshot
