// SPDX-License-Identifier: Apache-2.0
// [limits]: what a sandbox may use beside memory, CPUs and processes, and how many fit on the host.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/result.h"
#include "daemon/config_source.h"
#include "sandbox/admission.h"

namespace atl::sandbox {
struct Options;
}

namespace atl::daemon {

struct LimitsConfig {
  uint64_t disk_bytes = 0;  // of a sandbox; 0: no limit, here and below
  uint64_t inodes = 0;
  uint32_t weight = 100;
  uint32_t open_files = 65536;
  sandbox::AdmissionRules admission;
  std::chrono::milliseconds runtime_deadline{30'000};
  std::chrono::milliseconds checkpoint_deadline{60'000};
  std::chrono::milliseconds agent_deadline{15'000};
};

Result<LimitsConfig> ReadLimits(Source& source);

// What sandboxes are made with, beside the limits that [sandbox] sets.
void ApplyLimits(const LimitsConfig& limits, sandbox::Options& options);

}  // namespace atl::daemon
