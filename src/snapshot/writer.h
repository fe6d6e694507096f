// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "blob/directory.h"
#include "snapshot/store.h"

namespace atl::snapshot {

std::unique_ptr<Writer> MakeWriter(async::Runtime& runtime, blob::Directory directory,
                                   blob::Upload upload);

}  // namespace atl::snapshot
