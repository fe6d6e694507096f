// SPDX-License-Identifier: Apache-2.0
// Patterns of names, or of paths when they have a slash; `*` matches slashes too. "./name" is a
// path: what is called so at the top, and nothing deeper.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace atl::agent {

Result<void> CheckGlobs(const std::vector<std::string>& globs);
// `path` ends in `name`.
bool MatchesAny(const std::vector<std::string>& globs, const char* name, const std::string& path);

}  // namespace atl::agent
