// SPDX-License-Identifier: Apache-2.0
#include "daemon/limits_config.h"

namespace atl::daemon {
namespace {

constexpr std::string_view kSection = "limits";
constexpr double kMostInodes = 4294967295.0;

}  // namespace

Result<LimitsConfig> ReadLimits(Source& source) {
  LimitsConfig limits;
  TRY(source.ReadBytes(kSection, "disk", limits.disk_bytes));
  double inodes = 0;
  TRY(source.Read(kSection, "inodes", inodes, 0, kMostInodes));
  limits.inodes = static_cast<uint64_t>(inodes);
  TRY(source.Read(kSection, "weight", limits.weight, 1, 10'000));
  TRY(source.Read(kSection, "open_files", limits.open_files, 256, 1U << 20U));
  return limits;
}

}  // namespace atl::daemon
