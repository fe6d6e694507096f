// SPDX-License-Identifier: Apache-2.0
#include "snapshot/left_out.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace atl::snapshot {
namespace {

// Of an entry in a request.
constexpr size_t kOverhead = 4;

void SortUnique(std::vector<std::string>& paths) {
  std::ranges::sort(paths);
  const auto rest = std::ranges::unique(paths);
  paths.erase(rest.begin(), rest.end());
}

void Shorten(std::vector<std::string>& paths, size_t longest) {
  for (std::string& path : paths) {
    if (path.size() <= longest) continue;
    const size_t slash = path.rfind('/', longest);
    // A name at the top is never too long but below a directory whose path is.
    path.resize(slash != std::string::npos ? slash : std::min(path.find('/'), path.size()));
  }
}

void DropCovered(std::vector<std::string>& paths) {
  const std::unordered_set<std::string> all(paths.begin(), paths.end());
  std::erase_if(paths, [&](const std::string& path) {
    size_t end = path.find('/');
    for (; end != std::string::npos; end = path.find('/', end + 1)) {
      if (all.contains(path.substr(0, end))) return true;
    }
    return false;
  });
}

// How many of the first fit.
size_t CountFitting(const std::vector<std::string>& paths, size_t prefix_bytes,
                    const LeftOutLimits& limits) {
  size_t bytes = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    bytes += paths[i].size() + prefix_bytes + kOverhead;
    if (i == limits.count || bytes > limits.bytes) return i;
  }
  return paths.size();
}

}  // namespace

void FitLeftOut(std::vector<std::string>& paths, size_t prefix_bytes, const LeftOutLimits& limits) {
  Shorten(paths, limits.path_bytes - std::min(prefix_bytes, limits.path_bytes));
  SortUnique(paths);
  DropCovered(paths);
  while (CountFitting(paths, prefix_bytes, limits) < paths.size()) {
    const auto depth = [](std::string_view path) { return std::ranges::count(path, '/'); };
    std::ptrdiff_t deepest = 0;
    for (const std::string& path : paths) deepest = std::max(deepest, depth(path));
    if (deepest == 0) {
      paths.resize(CountFitting(paths, prefix_bytes, limits));
      return;
    }
    for (std::string& path : paths) {
      if (depth(path) == deepest) path.resize(path.rfind('/'));
    }
    SortUnique(paths);
    DropCovered(paths);
  }
}

}  // namespace atl::snapshot
