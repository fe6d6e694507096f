// SPDX-License-Identifier: Apache-2.0
#include "sandbox/state.h"

#include <array>
#include <cstddef>

namespace atl::sandbox {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"creating", "running",   "paused", "stopping",
                                                    "stopped",  "restoring", "failed", "deleting"};

}  // namespace

std::string_view StateName(State state) { return kNames.at(static_cast<size_t>(state)); }

std::optional<State> ParseState(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames.at(i) == name) return static_cast<State>(i);
  }
  return std::nullopt;
}

}  // namespace atl::sandbox
