// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>

#include "base/log_line.h"

namespace atl::log {
namespace {

// Set by Init, before there are threads.
bool json = false;

spdlog::logger& Logger() {
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("atoll", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum LevelOf(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::string_view NameOf(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "error";
}

}  // namespace

Result<void> Init(std::string_view level, std::string_view format) {
  if (format != "text" && format != "json") {
    return Fail(Code::kInvalidArgument,
                fmt::format("log format must be text or json, not \"{}\"", format));
  }
  for (Level one : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (level != NameOf(one)) continue;
    json = format == "json";
    if (json) Logger().set_pattern("%v");
    Logger().set_level(LevelOf(one));
    return {};
  }
  return Fail(Code::kInvalidArgument,
              fmt::format("log level must be debug, info, warning or error, not \"{}\"", level));
}

void Write(Level level, std::string_view message) {
  spdlog::level::level_enum wanted = LevelOf(level);
  if (!json) {
    Logger().log(wanted, "{}", message);
  } else if (Logger().should_log(wanted)) {
    std::string line = JsonLine(std::chrono::system_clock::now(), NameOf(level), message);
    Logger().log(wanted, "{}", line);
  }
}

}  // namespace atl::log
