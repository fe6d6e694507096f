// SPDX-License-Identifier: Apache-2.0
// What a key looks like (store.h), for every kind of store.
#pragma once

#include <string_view>

#include "base/result.h"

namespace atl::blob {

// One part of a key: [a-zA-Z0-9][a-zA-Z0-9._-]{0,199}.
bool IsKeyPart(std::string_view part);
Result<void> CheckKey(std::string_view key);
// The beginning of a key, at whatever character; may be empty.
Result<void> CheckPrefix(std::string_view prefix);

}  // namespace atl::blob
