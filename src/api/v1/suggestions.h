// SPDX-License-Identifier: Apache-2.0
// What clients can do about errors, by code.
#pragma once

#include <string_view>

namespace atl::api {

// A sentence, or "".
std::string_view SuggestionFor(std::string_view code);

}  // namespace atl::api
