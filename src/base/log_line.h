// SPDX-License-Identifier: Apache-2.0
// A message of the log as a line of JSON.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace atl::log {

// {"time":"2026-01-02T03:04:05.678Z","level":"info","message":"…","sandbox":"demo"}, without a line
// feed. Whatever bytes the message has, the line is JSON, and one line.
std::string JsonLine(std::chrono::system_clock::time_point time, std::string_view level,
                     std::string_view message);

// Messages about a sandbox begin with "sandbox <id>": its id, or nothing.
std::string_view SandboxOf(std::string_view message);

}  // namespace atl::log
