// SPDX-License-Identifier: Apache-2.0
// What a file is called to the clients of the SDK.
#pragma once

#include <string>
#include <string_view>

namespace atl::api::sdk {

// Its media type without parameters: by the name, else by how it begins.
std::string MimeTypeOf(std::string_view path, std::string_view begin);
// Not UTF-8, or with NUL in it.
bool IsBinary(std::string_view content);

}  // namespace atl::api::sdk
