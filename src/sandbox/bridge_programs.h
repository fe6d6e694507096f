// SPDX-License-Identifier: Apache-2.0
// The programs of bridges/, as they are written into a sandbox.
#pragma once

#include <string_view>

namespace atl::sandbox {

std::string_view PythonBridge();
std::string_view JavaScriptBridge();

}  // namespace atl::sandbox
