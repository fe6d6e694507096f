// SPDX-License-Identifier: Apache-2.0
// When a sandbox that nobody uses falls asleep, and when it is stopped.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "json/reader.h"

namespace atl::sandbox {

struct SleepPolicy {
  std::chrono::seconds after{600};        // idle for this long: frozen; 0: never
  std::chrono::seconds stop_after{3600};  // asleep for this long: saved and stopped; 0: never
  bool keep_alive = false;                // neither, whatever the two say
  bool operator==(const SleepPolicy&) const = default;

  // Idle for how long it stops; nothing: never.
  std::optional<std::chrono::seconds> StopsAfter() const;
};

// Reads "sleepAfter" and "stopAfter" ("10m", a number of seconds, or "off") and "keepAlive" (a
// boolean); what is missing is as in `defaults`. kInvalidArgument, INVALID_SLEEP_POLICY.
Result<SleepPolicy> ParseSleepPolicy(const json::Object& object, const SleepPolicy& defaults);
Result<SleepPolicy> ParseSleepPolicy(std::string_view json, const SleepPolicy& defaults);
// Whether the object has any of the three.
bool NamesSleepPolicy(const json::Object& object);
std::string EncodeSleepPolicy(const SleepPolicy& policy);

}  // namespace atl::sandbox
