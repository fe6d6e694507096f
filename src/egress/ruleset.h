// SPDX-License-Identifier: Apache-2.0
// The packet filter inside a sandbox's network namespace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "egress/netlink.h"

namespace atl::egress {

struct RulesetSpec {
  std::vector<Range> refused;        // merged
  std::vector<uint16_t> host_ports;  // open at host.atoll
  uint16_t tcp_port = 0;             // where every TCP connection is redirected to
  uint16_t dns_port = 0;             // where every DNS query over UDP is redirected to
};

// In nft's language.
std::string RulesetText(const RulesetSpec& spec);

// Applies it to the network namespace of the calling thread, in one transaction, in place of what
// an earlier call has left there.
Result<void> ApplyRuleset(const std::string& text);

}  // namespace atl::egress
