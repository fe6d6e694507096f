// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

struct OverlaySpec {
  std::string lower;  // a directory; read only
  std::string upper;  // what is written lands here
  std::string work;   // empty directory on the same file system as `upper`
  // A user of the host, and its group, as whom space is taken for what is written: what a file
  // system keeps for root (5% of an ext4, unless it was made otherwise) is not to be had through
  // the overlay.
  uint32_t user = 0;
};

// A detached overlay mount (nodev, nosuid), in which directories of the lower layer can be renamed
// where the kernel allows it (redirect_dir). The layers are handed over by descriptor: their paths
// may be long and may hold any character.
Result<Fd> MakeOverlay(const OverlaySpec& spec);
// The same, with a detached mount (CloneIdmapped) as the lower layer. `scratch` is an empty
// directory where kernels that want an attached lower layer get it for a moment.
Result<Fd> MakeOverlay(int lower_mount, const OverlaySpec& spec, const std::string& scratch);

}  // namespace atl::sys
