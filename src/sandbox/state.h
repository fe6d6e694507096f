// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace atl::sandbox {

enum class State {
  kCreating,
  kRunning,
  kPaused,
  kStopping,
  kStopped,
  kRestoring,
  kFailed,
  kDeleting
};

std::string_view StateName(State state);
std::optional<State> ParseState(std::string_view name);

}  // namespace atl::sandbox
