// SPDX-License-Identifier: Apache-2.0
// Whom the host asks for names.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "async/stream.h"

namespace atl::egress {

// The nameserver lines of a resolv.conf, at most eight.
std::vector<async::Endpoint> ParseResolvConf(std::string_view text);

// Usable from any thread.
class Nameservers {
 public:
  // `fixed`, or when that is empty what stands in the file at `resolv_conf`, which may change at
  // any time: a laptop that moves to another network.
  Nameservers(std::vector<async::Endpoint> fixed, std::string resolv_conf);

  std::vector<async::Endpoint> Current();

 private:
  const bool follows_file_;
  const std::string resolv_conf_;
  std::mutex mutex_;
  std::vector<async::Endpoint> servers_;
  std::chrono::steady_clock::time_point read_;
};

}  // namespace atl::egress
