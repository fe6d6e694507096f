// SPDX-License-Identifier: Apache-2.0
// Blobs as files below a directory, one folder per part of a key.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "blob/store.h"

namespace atl::blob {

// Makes the directory (0700) if it is missing. Several processes may use it at once. A blob is
// written under a temporary name in `<path>/tmp`, synced, and renamed; temporaries older than a day
// are removed when the store is opened.
Result<std::shared_ptr<Store>> OpenFiles(const std::string& path);

}  // namespace atl::blob
