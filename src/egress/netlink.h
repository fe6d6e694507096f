// SPDX-License-Identifier: Apache-2.0
// The few requests to the kernel's routing that a sandbox's network needs. All of them act on the
// network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace atl::egress {

// IPv4 addresses first..last, both included, in host byte order.
struct Range {
  uint32_t first = 0;
  uint32_t last = 0;
  bool operator==(const Range&) const = default;
};

Result<void> BringLoopbackUp();

// `ip route replace local <address>/<bits> dev lo table <table>`
Result<void> AddLocalRoute(uint32_t address, int bits, uint32_t table);

// What this network namespace delivers to itself: its interfaces' addresses, their broadcasts, and
// whatever else stands in the table "local".
Result<std::vector<Range>> LocalRanges();

}  // namespace atl::egress
