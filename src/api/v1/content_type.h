// SPDX-License-Identifier: Apache-2.0
// The media type of a file of a sandbox.
#pragma once

#include <string_view>

namespace atl::api {

// By the extension; "" when that says nothing.
std::string_view ContentTypeOf(std::string_view path);
// By how it begins: text, or bytes.
std::string_view ContentTypeOfBytes(std::string_view begin);

}  // namespace atl::api
