// SPDX-License-Identifier: Apache-2.0
// What a program that calls itself git prints: nothing may crash, no list may be longer than it may
// be, and what was cut must be read as far as it goes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sandbox/git_error.h"
#include "sandbox/git_output.h"

namespace {

using namespace atl::sandbox;

constexpr size_t kMost = 5;

void Must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  bool cut = (data[0] & 1U) != 0;
  if (auto status = ParseGitStatus(bytes, cut, kMost)) {
    Must(status->changes.size() <= kMost);
    for (const GitChange& change : status->changes) Must(!change.path.empty());
  }
  if (auto log = ParseGitLog(bytes, cut, kMost)) Must(log->size() <= kMost);
  if (auto branches = ParseGitBranches(bytes, cut, kMost)) Must(branches->size() <= kMost);
  if (auto diff = ParseGitDiff(bytes, cut, kMost)) Must(diff->files.size() <= kMost);
  if (auto pushed = ParseGitPush(bytes)) Must(pushed->size() <= size);
  if (auto progress = ParseGitProgress(bytes)) Must(progress->phase.size() <= 64);
  Must(!RemoteGitError("git", bytes, bytes.substr(0, 8)).reason.empty());
  Must(!LocalGitError("git", bytes).reason.empty());
  return 0;
}
