// SPDX-License-Identifier: Apache-2.0
// The program criu: where it is, and running it within limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
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
  std::string_view what;                       // for errors
  std::string log;                             // which it writes
  std::string images;                          // where it writes; empty: nothing that counts
  std::chrono::milliseconds deadline{60'000};  // of the whole call, or as RunCriuWatched says
  std::stop_token stop;                        // as in DumpSpec, as what follows
  uint64_t most_bytes = 0;
  uint64_t least_free = 0;
};
// To its end, a minute at most.
Result<void> RunCriu(CriuRun run);

// What is done in the middle of a dump; a failure ends it, and the processes go on.
struct Moments {
  std::function<void()> begins;           // they are about to be stopped
  std::function<Result<void>()> stopped;  // they stand still, nothing of them has been read
  std::function<Result<void>()> written;  // all is in files, and they still stand still
};
// The same for a dump whose processes go on, whatever comes out: CRIU is not killed in the middle
// of it, when they run its code, but can write no more. `scratch`: a directory that only root can
// get into. Should this process die, CRIU lets them go on and ends.
Result<void> RunCriuWatched(CriuRun run, const std::string& scratch, const Moments& moments);

}  // namespace atl::oci
