// SPDX-License-Identifier: Apache-2.0
// Whether what the wall clock calls old may be removed. A clock that has just jumped ahead may jump
// back, and what was removed meanwhile would be missing.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace atl::sandbox {

struct ClockReading {
  std::string boot_id;  // of the host's kernel
  int64_t wall_ms = 0;
  int64_t boot_ms = 0;  // since that boot
};
ClockReading ReadClock();

// What it believes is kept in a file, so that a restart of the daemon does not make a wrong clock
// right. May be used from any thread.
class ClockGuard {
 public:
  explicit ClockGuard(std::string path) : path_(std::move(path)) {}

  // Why nothing may be removed for its age now. Ahead by more than an hour of what the clock of the
  // boot says, or by more than 30 days of the last boot, counts as a jump until a day has passed
  // with it. A clock that went back makes nothing older.
  std::optional<std::string> WhyNotToRemove(const ClockReading& now);

 private:
  struct Belief {
    std::string boot_id;
    int64_t offset_ms = 0;  // of the wall clock to that of the boot
    int64_t wall_ms = 0;    // when it was written down
  };
  std::optional<Belief> Load() const;
  void Believe(const ClockReading& now);

  std::string path_;
  std::mutex mutex_;
  std::optional<Belief> belief_;
  bool loaded_ = false;
  std::optional<int64_t> doubted_since_;  // in time of the boot
};

}  // namespace atl::sandbox
