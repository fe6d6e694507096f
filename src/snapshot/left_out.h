// SPDX-License-Identifier: Apache-2.0
// What a snapshot could not store although it is there: a restore must not take it for gone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace atl::snapshot {

// A restore names them all in one request to the agent.
struct LeftOutLimits {
  size_t count = 12'000;
  size_t bytes = 200U << 10U;
  size_t path_bytes = 4000;  // of one
};

// Makes relative paths fit, each with `prefix_bytes` more: a path that is too long becomes its
// longest prefix of whole components that is not, and where there are too many or too long ones the
// deepest become their directories. So a restore leaves more alone than it had to, never less. Only
// names at the top that are too many are given up. Sorted, without any below another.
void FitLeftOut(std::vector<std::string>& paths, size_t prefix_bytes,
                const LeftOutLimits& limits = {});

}  // namespace atl::snapshot
