// SPDX-License-Identifier: Apache-2.0
// Where a sandbox must never get to, whatever name or rule led it there: the host, its networks,
// and everything else that is not the public internet.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "egress/netlink.h"

namespace atl::egress {

// The addresses that are Atoll's own inside every sandbox.
inline constexpr uint32_t kGatewayAddress = 0xC6120001;  // 198.18.0.1, gateway.atoll
inline constexpr uint32_t kHostAddress = 0xC6120002;     // 198.18.0.2, host.atoll

// "10.0.0.0/8" or "10.1.2.3"; host bits are ignored.
Result<Range> ParseRange(std::string_view text);
// "198.18.0.1"
std::string FormatAddress(uint32_t address);
// Sorted, overlapping and adjoining ranges joined.
std::vector<Range> MergeRanges(std::vector<Range> ranges);

// Usable from any thread.
class Policy {
 public:
  // What the calling thread's network namespace delivers to itself counts as the host's own.
  static Result<std::shared_ptr<Policy>> Make(const std::vector<std::string>& deny);

  // Is `address` refused? The host's own addresses are at most a second old.
  bool Refuses(uint32_t address);
  // Everything that is refused now, merged.
  std::vector<Range> Refused();

 private:
  explicit Policy(std::vector<Range> fixed) : fixed_(std::move(fixed)) {}
  Result<void> Refresh();

  const std::vector<Range> fixed_;
  std::mutex mutex_;
  std::vector<Range> refused_;  // merged
  std::chrono::steady_clock::time_point refreshed_;
};

}  // namespace atl::egress
