// SPDX-License-Identifier: Apache-2.0
// Which TCP ports have a listener in this network namespace, and whose it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/ports.h"

namespace atl::agent {

// Bounded in count, size and time: what exceeds that is left out, and `complete` says so.
Result<protocol::Ports> ListeningPorts();

// A line of /proc/net/tcp or tcp6; nothing when it is none of a listener.
struct ListenerLine {
  std::string address;
  uint32_t port = 0;
  uint64_t inode = 0;
};
std::optional<ListenerLine> ParseListener(std::string_view line);

}  // namespace atl::agent
