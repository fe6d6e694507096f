// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "blob/directory.h"
#include "snapshot/format.h"
#include "snapshot/store.h"

namespace atl::snapshot {

std::unique_ptr<Reader> MakeReader(async::Runtime& runtime, Record record, blob::Download object);

}  // namespace atl::snapshot
