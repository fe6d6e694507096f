// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <time.h>

#include <chrono>

namespace atl {

int64_t NowMs() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

int64_t NowSeconds() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

int64_t SinceBootMs() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return (now.tv_sec * 1'000) + (now.tv_nsec / 1'000'000);
}

}  // namespace atl
