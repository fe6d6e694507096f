// SPDX-License-Identifier: Apache-2.0
// The program criu: where it is, and running it within limits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/process.h"

namespace atl::oci {

// The criu to use: `configured`, else <state_dir>/criu/criu, else /usr/lib/atoll/criu, else the one
// in PATH. Run once to see whether this kernel and it go together; the answer is remembered.
// Blocks.
Result<std::string> FindCriu(const std::string& configured, const std::string& state_dir);

struct CriuRun {
  sys::Command command;
  std::string_view what;  // for errors
  std::string log;        // which it writes
  std::string images;     // where it writes; empty: nothing that counts
  // As in DumpSpec.
  uint64_t most_bytes = 0;
  uint64_t least_free = 0;
};
// To its end, a minute at most.
Result<void> RunCriu(CriuRun run);

}  // namespace atl::oci
