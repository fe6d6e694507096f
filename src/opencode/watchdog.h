// SPDX-License-Identifier: Apache-2.0
// Notices that OpenCode hangs: it runs, it may even accept connections, and answers none.
#pragma once

#include <chrono>
#include <functional>

#include "async/task.h"

namespace atl::opencode {

struct WatchdogOptions {
  std::chrono::milliseconds interval{10'000};  // between probes while all is well
  std::chrono::milliseconds limit{5'000};      // for one answer
  std::chrono::milliseconds recheck{1'000};    // after a probe that failed
  // So many failures in a row are a hang: a longer silence than a busy host explains, and than a
  // snapshot that freezes the sandbox takes (30 s).
  int patience = 7;
};

// `probe`: asks on a connection of its own and gives up after the limit. `may_probe`: whether the
// sandbox runs; what happens while it sleeps or stops says nothing. Returns when OpenCode hangs.
using HealthProbe = std::function<async::Task<bool>(std::chrono::milliseconds limit)>;
async::Task<> WaitForHang(HealthProbe probe, std::function<bool()> may_probe,
                          WatchdogOptions options);

}  // namespace atl::opencode
