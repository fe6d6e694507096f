// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace atl::repository {

// What was read is not what a repository holds: damaged, cut off or made up.
inline Unexpected FailCorrupt(std::string message) {
  return Fail(Code::kInternal, std::move(message), "REPOSITORY_CORRUPT");
}

}  // namespace atl::repository
