// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "cli/verbs.h"

namespace atl::cli {

Result<daemon::Config> ConfigOf(const Globals& globals) {
  return daemon::LoadConfig(globals.config_file, daemon::ProcessEnvironment());
}

Result<std::string> FindShared(const std::string& relative) {
  std::vector<std::string> candidates = {relative};
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  if (n > 0) {
    std::string dir(self, static_cast<size_t>(n));
    dir.resize(dir.rfind('/'));
    candidates.push_back(fmt::format("{}/../../{}", dir, relative));
    candidates.push_back(fmt::format("{}/../share/atoll/{}", dir, relative));
  }
  for (const std::string& candidate : candidates) {
    if (::access(candidate.c_str(), X_OK) != 0) continue;
    std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(candidate.c_str(), nullptr),
                                                         &std::free);
    return resolved == nullptr ? candidate : std::string(resolved.get());
  }
  return Fail(Code::kNotFound,
              fmt::format("{} is neither in a source tree nor installed", relative));
}

Result<void> AppendEnv(json::Writer& body, const std::vector<std::string>& pairs) {
  if (pairs.empty()) return {};
  body.Key("env").BeginObject();
  for (const std::string& pair : pairs) {
    size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(Code::kInvalidArgument, fmt::format("--env {}: write KEY=value", pair));
    }
    body.Field(pair.substr(0, equals), pair.substr(equals + 1));
  }
  body.EndObject();
  return {};
}

std::string CommandLine(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1) return arguments[0];
  std::string line;
  for (const std::string& argument : arguments) {
    if (!line.empty()) line += ' ';
    line += '\'';
    for (char c : argument) {
      if (c == '\'') {
        line += "'\\''";
      } else {
        line += c;
      }
    }
    line += '\'';
  }
  return line;
}

Result<int> Version(const Globals& globals) {
  if (globals.json) {
    fmt::print("{{\"version\":\"{}\"}}\n", ATOLL_VERSION);
  } else {
    fmt::print("atoll {}\n", ATOLL_VERSION);
  }
  return 0;
}

}  // namespace atl::cli
