// SPDX-License-Identifier: Apache-2.0
// What of OpenCode's interface is not for the outside.
#pragma once

#include <string_view>

namespace atl::gateway {

bool IsBlockedPath(std::string_view path);

}  // namespace atl::gateway
