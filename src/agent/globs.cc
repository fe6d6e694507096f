// SPDX-License-Identifier: Apache-2.0
#include "agent/globs.h"

#include <fnmatch.h>

#include <algorithm>

namespace atl::agent {
namespace {

// What each costs is paid for every name that is looked at.
constexpr size_t kMaxGlobs = 256;
constexpr size_t kMaxGlobBytes = 1024;

}  // namespace

Result<void> CheckGlobs(const std::vector<std::string>& globs) {
  bool long_one =
      std::ranges::any_of(globs, [](const auto& g) { return g.size() > kMaxGlobBytes; });
  if (globs.size() <= kMaxGlobs && !long_one) return {};
  return Fail(Code::kInvalidArgument, "there are too many patterns, or one is too long");
}

bool MatchesAny(const std::vector<std::string>& globs, const char* name, const std::string& path) {
  return std::ranges::any_of(globs, [&](const std::string& glob) {
    bool whole = glob.find('/') != std::string::npos;
    const char* pattern = glob.c_str() + (glob.starts_with("./") ? 2 : 0);
    return fnmatch(pattern, whole ? path.c_str() : name, 0) == 0;
  });
}

}  // namespace atl::agent
