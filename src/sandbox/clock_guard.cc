// SPDX-License-Identifier: Apache-2.0
#include "sandbox/clock_guard.h"

#include <fmt/format.h>

#include <sstream>

#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
// A host may be off for a while.
constexpr int64_t kMostOffMs = 30 * kDayMs;

}  // namespace

ClockReading ReadClock() {
  ClockReading reading{.wall_ms = NowMs(), .boot_ms = SinceBootMs()};
  if (auto id = sys::ReadFile("/proc/sys/kernel/random/boot_id", 64)) {
    reading.boot_id = id->substr(0, id->find('\n'));
  }
  return reading;
}

std::optional<ClockGuard::Belief> ClockGuard::Load() const {
  auto text = sys::ReadFile(path_, 256);
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  Belief belief;
  if (!(words >> belief.boot_id >> belief.offset_ms >> belief.wall_ms)) return std::nullopt;
  return belief;
}

void ClockGuard::Believe(const ClockReading& now) {
  doubted_since_.reset();
  belief_ = {
      .boot_id = now.boot_id, .offset_ms = now.wall_ms - now.boot_ms, .wall_ms = now.wall_ms};
  Result<void> written = sys::WriteFileAtomic(
      path_, fmt::format("{} {} {}\n", belief_->boot_id, belief_->offset_ms, belief_->wall_ms));
  if (!written) log::Warning("note what time it is: {}", written.error().message);
}

std::optional<std::string> ClockGuard::WhyNotToRemove(const ClockReading& now) {
  std::lock_guard guard(mutex_);
  if (!std::exchange(loaded_, true)) belief_ = Load();
  if (!belief_) {
    Believe(now);
    return std::nullopt;
  }
  bool same_boot = belief_->boot_id == now.boot_id;
  int64_t ahead_ms =
      same_boot ? now.wall_ms - now.boot_ms - belief_->offset_ms : now.wall_ms - belief_->wall_ms;
  bool jumped = ahead_ms > (same_boot ? kHourMs : kMostOffMs);
  if (jumped && !doubted_since_) doubted_since_ = now.boot_ms;
  if (jumped && now.boot_ms - *doubted_since_ < kDayMs) {
    return fmt::format("the clock is {} hours ahead of what it was; it is believed in {} hours",
                       ahead_ms / kHourMs,
                       (kDayMs - (now.boot_ms - *doubted_since_) + kHourMs - 1) / kHourMs);
  }
  Believe(now);
  return std::nullopt;
}

}  // namespace atl::sandbox
