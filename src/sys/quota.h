// SPDX-License-Identifier: Apache-2.0
// Project quotas of ext4 and XFS: limits of what lies below a directory. Programs in a user
// namespace can neither leave a project nor change it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl::sys {

struct QuotaLimits {
  uint64_t bytes = 0;  // 0: no limit, here and below
  uint64_t inodes = 0;
};

struct QuotaUsage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
};

// Makes `dir`, and what is made in it from now on, part of a project.
Result<void> SetProject(const std::string& dir, uint32_t project);
// 0: none.
Result<uint32_t> ProjectOf(const std::string& dir);
// `dir`: any directory of the file system that counts.
Result<void> SetProjectLimits(const std::string& dir, uint32_t project, const QuotaLimits& limits);
Result<QuotaUsage> ProjectUsage(const std::string& dir, uint32_t project);

// Whether the file system below `parent` keeps to such limits: found by writing past one, in a
// directory that is removed again. `project`: one that nobody has.
Result<void> ProbeProjectQuota(const std::string& parent, uint32_t project);

}  // namespace atl::sys
