// SPDX-License-Identifier: Apache-2.0
// One log, lines on stderr: `2026-01-02T03:04:05.678Z info message`, or JSON (log_line.h).
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/result.h"

namespace atl::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Called once by main, before other threads log. `level`: debug, info, warning, error; `format`:
// text, json.
Result<void> Init(std::string_view level, std::string_view format = "text");

void Write(Level level, std::string_view message);

template <class... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace atl::log
