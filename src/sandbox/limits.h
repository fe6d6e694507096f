// SPDX-License-Identifier: Apache-2.0
// How much of the host a sandbox may use, and the environment of its programs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::sandbox {

struct Limits {
  uint64_t memory_bytes = 0;
  double cpus = 0;
  uint64_t pids = 0;
  uint64_t disk_bytes = 0;  // of the writable layer; 0: no limit
  uint64_t inodes = 0;      // files of the writable layer; 0: no limit
  uint64_t weight = 100;    // its part of CPU and I/O when several want all; 100 is everybody's
};

// "512M", "2G", "1073741824"
Result<uint64_t> ParseBytes(std::string_view text);

// Memory from 32 MiB to 64 TiB, CPUs from 0.01 to what the host has, 16 to 4,194,304 processes, a
// disk of 32 MiB to 64 TiB or without a limit, 128 to 2^32 files, a weight of 1 to 10,000.
Result<void> ValidateLimits(const Limits& limits);
// `limits` with no more CPUs than the host has: a default must fit every host.
Limits FitToHost(Limits limits);

using Environment = std::vector<std::pair<std::string, std::string>>;

// Names, and sizes: at most 64 KiB in all.
Result<void> ValidateCreateEnv(const Environment& env);
// PATH, HOME and so on; then `more`, of which the later value of a name counts.
Environment ProgramEnv(const Environment& common, const Environment& own);

}  // namespace atl::sandbox
