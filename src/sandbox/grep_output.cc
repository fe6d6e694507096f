// SPDX-License-Identifier: Apache-2.0
#include "sandbox/grep_output.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace atl::sandbox {
namespace {

constexpr size_t kMaxText = 4096;
// A path, two numbers and the text; what is longer is cut.
constexpr size_t kMaxLine = 4096 + 64 + kMaxText;

// Takes "123:" off the beginning.
std::optional<uint64_t> TakeNumber(std::string_view& text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  auto digits = static_cast<size_t>(end - text.data());
  if (error != std::errc() || digits >= text.size() || *end != ':') return std::nullopt;
  text.remove_prefix(digits + 1);
  return value;
}

}  // namespace

void GrepOutput::Add(std::string_view bytes) {
  while (!bytes.empty() && !full_) {
    size_t end = std::min(bytes.find('\n'), bytes.size());
    size_t room = kMaxLine - std::min(line_.size(), kMaxLine);
    line_ += bytes.substr(0, std::min(end, room));
    if (end == bytes.size()) return;
    bytes.remove_prefix(end + 1);
    TakeLine();
  }
}

void GrepOutput::TakeLine() {
  std::string line = std::exchange(line_, std::string());
  size_t nul = line.find('\0');
  // Without a name it is a remark of the program's.
  if (nul == std::string::npos || nul == 0) return;
  std::string_view rest = std::string_view(line).substr(nul + 1);
  auto number = TakeNumber(rest);
  auto column = columns_ ? TakeNumber(rest) : 0;
  if (!number || !column) return;
  if (matches_.size() == limit_) {
    full_ = true;
    return;
  }
  if (rest.ends_with('\r')) rest.remove_suffix(1);
  matches_.push_back(GrepMatch{.path = line.substr(0, nul),
                               .line = *number,
                               .column = *column,
                               .text = std::string(rest.substr(0, kMaxText))});
}

}  // namespace atl::sandbox
