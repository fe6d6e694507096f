// SPDX-License-Identifier: Apache-2.0
// What an ext4 file system says of itself, and what it can be told to keep back.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl::sys {

struct Ext4Super {
  bool has_errors = false;  // it has met some, and e2fsck has not looked at it since
  uint64_t journal_bytes = 0;
};

// Of the file system in a file or on a device, mounted or not.
Result<Ext4Super> ReadExt4Super(const std::string& file);

// "loop3", the block device of what is mounted at `path`.
Result<std::string> DeviceOf(const std::string& path);

// How many clusters the mounted file system on `device` ("loop3") gives to nobody, root included:
// whoever would need one of them gets ENOSPC at once. A mount begins with a small number, which its
// own metadata may need.
Result<uint64_t> WithheldClusters(const std::string& device);
Result<void> WithholdClusters(const std::string& device, uint64_t clusters);

}  // namespace atl::sys
