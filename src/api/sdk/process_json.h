// SPDX-License-Identifier: Apache-2.0
// Background processes, in the words of the SDK.
#pragma once

#include <string_view>

#include "json/writer.h"
#include "sandbox/processes.h"

namespace atl::api::sdk {

// "running", "completed", "failed", "killed", "error"
std::string_view StatusName(const sandbox::ProcessInfo& info);
// 128+n for signal n.
int ExitCodeOf(const sandbox::ProcessInfo& info);
void WriteProcess(json::Writer& writer, const sandbox::ProcessInfo& info);

}  // namespace atl::api::sdk
