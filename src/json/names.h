// SPDX-License-Identifier: Apache-2.0
// The names that a JSON object has, without reading what they stand for.
#pragma once

#include <string_view>
#include <vector>

namespace atl::json {

// As they are written; those with an escape in them, and whatever is behind what is no JSON, are
// left out.
std::vector<std::string_view> PlainNames(std::string_view object);

}  // namespace atl::json
