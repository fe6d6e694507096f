// SPDX-License-Identifier: Apache-2.0
// Makes a fresh network namespace a sandbox's: every address is "here", and what may leave arrives
// at listeners that the daemon holds.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "egress/netlink.h"
#include "sys/fd.h"

namespace atl::egress {

struct NetworkSpec {
  std::vector<Range> refused;  // merged
  std::vector<uint16_t> host_ports;
};

// Bound inside the sandbox's namespace.
struct NetworkListeners {
  sys::Fd tcp;  // every TCP connection; SO_ORIGINAL_DST says where to
  sys::Fd dns;  // every UDP datagram to port 53
};

// Blocking, a few milliseconds. May be repeated on a namespace in use: rules and listeners of
// before are replaced.
Result<NetworkListeners> SetUpNetwork(const sys::Fd& netns, const NetworkSpec& spec);

}  // namespace atl::egress
