// SPDX-License-Identifier: Apache-2.0
// Which variables OpenCode, its runtime or the programs that it starts by itself may heed.
#include <algorithm>
#include <array>
#include <string_view>

#include "opencode/server.h"

namespace atl::opencode {
namespace {

constexpr std::array<std::string_view, 20> kPrefixes = {
    "OPENCODE_", "XDG_",  "NODE_", "BUN_", "GIT_", "SSL_", "AWS_", "AZURE_", "GOOGLE_", "GCP_",
    "VERTEX",    "OTEL_", "UV_",   "NPM_", "npm_", "LC_",  "LD_",  "BASH",   "RIPGREP", "OPENAI_"};
constexpr std::array<std::string_view, 9> kSuffixes = {"_API_KEY",    "_TOKEN", "_BASE_URL",
                                                       "_PROXY",      "_proxy", "_ENDPOINT",
                                                       "_ACCOUNT_ID", "_KEY",   "_PAT"};
constexpr std::array<std::string_view, 12> kNames = {"HOME", "PATH", "SHELL",   "TMPDIR",
                                                     "LANG", "TZ",   "EDITOR",  "VISUAL",
                                                     "TERM", "USER", "LOGNAME", "DEBUG"};

bool MayBeHeeded(std::string_view name) {
  return std::ranges::any_of(kPrefixes, [&](auto one) { return name.starts_with(one); }) ||
         std::ranges::any_of(kSuffixes, [&](auto one) { return name.ends_with(one); }) ||
         std::ranges::find(kNames, name) != kNames.end();
}

}  // namespace

bool CanDoWithout(const std::vector<std::pair<std::string, std::string>>& env) {
  return std::ranges::none_of(env, [](const auto& one) { return MayBeHeeded(one.first); });
}

}  // namespace atl::opencode
