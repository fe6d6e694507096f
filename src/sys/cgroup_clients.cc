// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "sys/cgroup.h"

namespace atl::sys {

Result<std::vector<Fd>> Cgroup::OpenClientProcs(const CgroupLimits& limits) const {
  for (const Place& place : places_) {
    std::string leaf = place.path + "/clients";
    if (::mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) {
      return FailErrno(errno, fmt::format("make the cgroup {}", leaf));
    }
    // Each hierarchy has the files of its controllers; on v2 the one has all.
    const std::pair<const char*, uint64_t> wanted[] = {
        {"/memory.limit_in_bytes", limits.memory_bytes},
        {"/memory.max", limits.memory_bytes},
        {"/memory.swap.max", 0},
        {"/pids.max", limits.pids},
    };
    for (const auto& [file, value] : wanted) {
      std::string path = leaf + file;
      if (::access(path.c_str(), F_OK) == 0) TRY(WriteFile(path, fmt::format("{}", value)));
    }
  }
  return OpenProcs("clients");
}

}  // namespace atl::sys
