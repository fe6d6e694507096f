// SPDX-License-Identifier: Apache-2.0
// When snapshots are taken by themselves, and how long they stay.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "json/reader.h"
#include "snapshot/maintenance.h"

namespace atl::snapshot {

struct AutoPolicy {
  bool on_stop = true;                 // before a sandbox stops
  bool on_start = true;                // a sandbox whose layer is gone gets its newest snapshots
  std::chrono::seconds interval{600};  // 0: never
  std::vector<std::string> paths = {"/workspace", "/root", "/home"};
  bool operator==(const AutoPolicy&) const = default;
};

struct Retention {
  std::optional<std::chrono::seconds> ttl = std::chrono::hours(72);  // nothing: never
  KeepRules keep;
};

// "90s", "10m", "12h", "3d", "2w", a number of seconds; "0" and "off" are zero.
Result<std::chrono::seconds> ParseDuration(std::string_view text);
// The same, or "never", which is nothing.
Result<std::optional<std::chrono::seconds>> ParseTtl(std::string_view text);
std::string FormatDuration(std::chrono::seconds duration);

// {"onStop": true, "onStart": true, "interval": "10m", "paths": [...]}; what is missing is as in
// `defaults`, what is unknown or wrong is INVALID_SNAPSHOT_POLICY (kInvalidArgument).
Result<AutoPolicy> ParseAutoPolicy(std::string_view json, const AutoPolicy& defaults);
Result<AutoPolicy> ParseAutoPolicy(const json::Object& object, const AutoPolicy& defaults);
std::string EncodeAutoPolicy(const AutoPolicy& policy);

// An absolute directory without ".", "..", doubled or closing slashes, and not "/".
// INVALID_BACKUP_CONFIG.
Result<std::string> NormalDir(std::string_view dir);

// What programs leave behind that is worth nothing after a restart, as absolute paths.
std::vector<std::string> DisposablePaths();

}  // namespace atl::snapshot
