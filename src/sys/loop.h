// SPDX-License-Identifier: Apache-2.0
// Image files as block devices: loop(4).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

struct LoopDevice {
  std::string path;   // "/dev/loop3"
  Fd fd;              // the device ends when nobody has it open or mounted any more
  bool fresh = true;  // it was attached just now
};

// The device that shows `image`. One that shows it already is used again: two devices of one file
// would know nothing of each other's writes.
Result<LoopDevice> AttachLoop(const std::string& image);

struct LoopInUse {
  std::string path;  // "/dev/loop3"
  std::string file;  // as its opener named it, without the mark of a deleted one
  dev_t device = 0;  // the file system of the file
};

// Every loop device of the host that shows a file.
std::vector<LoopInUse> ListLoops();
// The same without `device`, and without opening any: what is open does not end.
std::vector<LoopInUse> ListLoopFiles();

// Mounts the file system on the device at `target`: nodev, nosuid, `options` as mount(2) has them.
Result<void> MountDevice(const std::string& device, std::string_view fs_type,
                         const std::string& target, std::string_view options);

}  // namespace atl::sys
