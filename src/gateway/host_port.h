// SPDX-License-Identifier: Apache-2.0
// The two halves of an authority: "demo.localhost:8787", "[::1]:8787".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace atl::gateway {

struct HostPort {
  std::string host;  // lower case, without a trailing dot; IPv6 literals keep their brackets
  std::string port;  // digits, or empty
  bool operator==(const HostPort&) const = default;
};
// nullopt for anything that is not a host and an optional port.
std::optional<HostPort> SplitHostPort(std::string_view authority);

}  // namespace atl::gateway
