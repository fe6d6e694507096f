// SPDX-License-Identifier: Apache-2.0
#include "daemon/limits_config.h"

#include <optional>
#include <string_view>

#include "sandbox/registry.h"
#include "snapshot/policy.h"

namespace atl::daemon {
namespace {

constexpr std::string_view kSection = "limits";
constexpr double kMostInodes = 4294967295.0;

constexpr double kMostSandboxes = 61439;  // as many as there are ranges of ids
constexpr double kMostOvercommit = 1000;

// Nothing when it is not configured.
Result<std::optional<uint64_t>> ReadReserve(Source& source, std::string_view key) {
  constexpr uint64_t kAbsent = ~0ULL;
  uint64_t bytes = kAbsent;
  TRY(source.ReadBytes(kSection, key, bytes));
  if (bytes == kAbsent) return std::nullopt;
  return bytes;
}

// "30s", at least a second.
Result<void> ReadDeadline(Source& source, std::string_view key, std::chrono::milliseconds& into) {
  std::string text;
  TRY(source.Read(kSection, key, text));
  if (text.empty()) return {};
  auto duration = snapshot::ParseDuration(text);
  if (!duration || duration->count() < 1) {
    return Bad("[limits]", key, "must be a time such as 30s");
  }
  into = *duration;
  return {};
}

}  // namespace

Result<LimitsConfig> ReadLimits(Source& source) {
  LimitsConfig limits;
  TRY(source.ReadBytes(kSection, "disk", limits.disk_bytes));
  double inodes = 0;
  TRY(source.Read(kSection, "inodes", inodes, 0, kMostInodes));
  limits.inodes = static_cast<uint64_t>(inodes);
  TRY(source.Read(kSection, "weight", limits.weight, 1, 10'000));
  TRY(source.Read(kSection, "open_files", limits.open_files, 256, 1U << 20U));
  sandbox::AdmissionRules& rules = limits.admission;
  double most = 0;
  TRY(source.Read(kSection, "max_sandboxes", most, 0, kMostSandboxes));
  rules.max_sandboxes = static_cast<uint64_t>(most);
  ASSIGN(rules.memory_reserve, ReadReserve(source, "memory_reserve"));
  ASSIGN(rules.disk_reserve, ReadReserve(source, "disk_reserve"));
  TRY(source.Read(kSection, "memory_overcommit", rules.overcommit, 0, kMostOvercommit));
  TRY(source.Read(kSection, "disk_overcommit", rules.disk_overcommit, 0, kMostOvercommit));
  TRY(source.Read(kSection, "memory_pressure", rules.memory_pressure, 0, 100));
  TRY(ReadDeadline(source, "runtime_deadline", limits.runtime_deadline));
  TRY(ReadDeadline(source, "checkpoint_deadline", limits.checkpoint_deadline));
  TRY(ReadDeadline(source, "agent_deadline", limits.agent_deadline));
  return limits;
}

void ApplyLimits(const LimitsConfig& limits, sandbox::Options& options) {
  options.limits.disk_bytes = limits.disk_bytes;
  options.limits.inodes = limits.inodes;
  options.limits.weight = limits.weight;
  options.open_files = limits.open_files;
  options.admission = limits.admission;
  options.runtime_deadline = limits.runtime_deadline;
  options.checkpoint_deadline = limits.checkpoint_deadline;
  options.agent_deadline = limits.agent_deadline;
}

}  // namespace atl::daemon
