// SPDX-License-Identifier: Apache-2.0
#include "blob/key.h"

#include <fmt/format.h>

#include <algorithm>

namespace atl::blob {
namespace {

constexpr size_t kMaxKeyBytes = 800;
constexpr size_t kMaxPartBytes = 200;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool IsPartChar(char c) { return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-'; }

}  // namespace

bool IsKeyPart(std::string_view part) {
  return !part.empty() && part.size() <= kMaxPartBytes && IsAlphanumeric(part.front()) &&
         std::ranges::all_of(part, IsPartChar);
}

Result<void> CheckKey(std::string_view key) {
  bool good = key.size() <= kMaxKeyBytes;
  std::string_view rest = key;
  while (good) {
    size_t slash = rest.find('/');
    good = IsKeyPart(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (good) return {};
  return Fail(Code::kInvalidArgument,
              fmt::format("\"{}\" is no key of a blob", key.substr(0, kMaxPartBytes)));
}

Result<void> CheckPrefix(std::string_view prefix) {
  if (prefix.empty()) return {};
  // What is missing of its last part could be anything.
  return CheckKey(prefix.ends_with('/') ? std::string(prefix) + "x" : std::string(prefix));
}

}  // namespace atl::blob
