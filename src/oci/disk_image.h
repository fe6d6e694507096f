// SPDX-License-Identifier: Apache-2.0
// A file that holds an ext4 file system of a given size: it takes no more room on the host than
// what was written into it, and what does not fit into it fails inside.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/mounts.h"

namespace atl::oci {

struct DiskImageSpec {
  uint64_t bytes = 0;
  uint64_t inodes = 0;  // 0: one for each 8 KiB; rounded up to what fills the tables
};

// Makes `file`, at once or not at all.
Result<void> MakeDiskImage(const std::string& file, const DiskImageSpec& spec);

// Mounts it at `target`, a directory. After an unclean end of the host its journal is replayed,
// and what that cannot mend is left to e2fsck. May be mounted several times.
Result<sys::Mount> MountDiskImage(const std::string& file, const std::string& target);

}  // namespace atl::oci
