// SPDX-License-Identifier: Apache-2.0
#include "opencode/watchdog.h"

namespace atl::opencode {

async::Task<> WaitForHang(HealthProbe probe, std::function<bool()> may_probe,
                          WatchdogOptions options) {
  int failures = 0;
  while (failures < options.patience) {
    std::chrono::milliseconds pause = failures == 0 ? options.interval : options.recheck;
    co_await async::Sleep(pause);
    if (!may_probe()) {
      failures = 0;
      continue;
    }
    bool healthy = co_await probe(options.limit);
    // One that fell asleep meanwhile could not answer.
    failures = healthy || !may_probe() ? 0 : failures + 1;
  }
}

}  // namespace atl::opencode
