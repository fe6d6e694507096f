// SPDX-License-Identifier: Apache-2.0
// The file tree of a sandbox: an id-mapped view of the image below, its own layer above.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/mounts.h"

namespace atl::oci {

struct RootfsSpec {
  std::string image_rootfs;  // images/<name>/rootfs; never written
  std::string layer;         // OpenLayer::dir(): gets upper/ and work/
  std::string target;        // run_dir/sandboxes/<iid>/rootfs
  uint32_t id_base = 0;
  int user_namespace = -1;  // sys::MakeUserNamespace of these ids
  bool bounded = false;     // what is inside may take every file that the layer can have
};

struct RootfsTimes {
  double idmap_ms = 0;
  double overlay_ms = 0;
};

// Makes the directories that are missing and mounts. The mount is needed only until the container
// runs: it has a copy of its own, so drop the result then.
Result<sys::Mount> MountRootfs(const RootfsSpec& spec, RootfsTimes* times = nullptr);

}  // namespace atl::oci
