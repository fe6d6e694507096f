// SPDX-License-Identifier: Apache-2.0
// What a program has started, whatever session that has made for itself: it is known by a variable
// that the program's environment had and that descendants inherit. One that took the variable out,
// or that runs as a user whose memory the agent may not look at, is not found.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace atl::agent {

inline constexpr std::string_view kDescent = "ATOLL_PROCESS=";

// Sends `signo` (0: none) to those that have one of these variables, "NAME=value", but not to those
// in the sessions of `leaders`. False when there are none.
bool SignalDescendants(const std::vector<std::string>& marks, const std::vector<pid_t>& leaders,
                       int signo);

}  // namespace atl::agent
