// SPDX-License-Identifier: Apache-2.0
// Whether memory was why something ended. The kernel counts how many processes of a sandbox it has
// ended, and does not say which. What ended with SIGKILL, or has passed that on as 137, is the one
// when the count has grown and nobody else was it:
//   - who had much of the memory takes one of the kills at once, of the last seconds, for a shell
//     may have gone on for a while;
//   - who had little is asked again a moment later, and is the one only if a kill is left then that
//     was not the end of a program of somebody who had much and ended otherwise.
// So two that had much, of which memory ended one and somebody else the other at the same moment,
// cannot be told apart.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "async/task.h"

namespace atl::sandbox {

enum class OomClaim {
  kLook,    // is there one that may be its?
  kFirm,    // it is, if it is nobody else's
  kWeak,    // so it is if it is not likely to be somebody else's
  kLikely,  // it may have been one of its programs
};
struct OomQuestion {
  std::string who;  // the same for the same end
  // When it may have been, in milliseconds of Unix time.
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  OomClaim claim = OomClaim::kLook;
};
enum class OomAnswer { kNo, kUnsure, kYes };

// Of one sandbox. Its `memory_bytes` are what its programs may have together.
struct OomBook {
  std::function<OomAnswer(const OomQuestion&)> ask;
  uint64_t memory_bytes = 0;
};

struct Ended {
  std::string who;
  int exit_code = 0;
  uint64_t max_rss_bytes = 0;  // 0: not known
};

// Of what has just ended. Waits a moment where it must.
async::Task<bool> EndedForMemory(const OomBook& book, Ended ended);
// Of what ended at `ended_ms`, whenever that is asked: not yet, if it must be waited for.
bool HadEndedForMemory(const OomBook& book, const Ended& ended, int64_t ended_ms);

}  // namespace atl::sandbox
