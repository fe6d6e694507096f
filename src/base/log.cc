// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace atl::log {
namespace {

spdlog::logger& Logger() {
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("atoll", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

}  // namespace

Result<void> Init(std::string_view level) {
  if (level == "debug") {
    Logger().set_level(spdlog::level::debug);
  } else if (level == "info") {
    Logger().set_level(spdlog::level::info);
  } else if (level == "warning") {
    Logger().set_level(spdlog::level::warn);
  } else if (level == "error") {
    Logger().set_level(spdlog::level::err);
  } else {
    return Fail(Code::kInvalidArgument,
                fmt::format("log level must be debug, info, warning or error, not \"{}\"", level));
  }
  return {};
}

void Write(Level level, std::string_view message) {
  switch (level) {
    case Level::kDebug:
      Logger().log(spdlog::level::debug, "{}", message);
      break;
    case Level::kInfo:
      Logger().log(spdlog::level::info, "{}", message);
      break;
    case Level::kWarning:
      Logger().log(spdlog::level::warn, "{}", message);
      break;
    case Level::kError:
      Logger().log(spdlog::level::err, "{}", message);
      break;
  }
}

}  // namespace atl::log
