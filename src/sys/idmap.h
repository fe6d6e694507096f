// SPDX-License-Identifier: Apache-2.0
// User namespaces as id mappings, and id-mapped views of directories.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

// Each sandbox has so many ids, and the ranges of all lie one behind the other from the first on.
inline constexpr uint32_t kFirstSandboxId = 0x10000000;
inline constexpr uint32_t kIdsOfSandbox = 65536;

// Ids 0..size-1 inside are base..base+size-1 on the host.
struct IdRange {
  uint32_t base = 0;
  uint32_t size = kIdsOfSandbox;
};

// A user namespace with this mapping that has no process: it lives as long as the descriptor and
// whatever was mounted with it. It belongs to the first host id of its range: the kernel charges
// what is counted by user (inotify, message queues, pending signals, namespaces) to the owner as
// well, and what belongs to root would share root's limits with every other.
Result<Fd> MakeUserNamespace(IdRange range);

// A detached, read-only view of `directory` in which the file owners 0..size-1 appear as the
// namespace's host ids.
Result<Fd> CloneIdmapped(const std::string& directory, int user_namespace);

}  // namespace atl::sys
