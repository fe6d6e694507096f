// SPDX-License-Identifier: Apache-2.0
// Clones a repository inside a sandbox, with the sandbox's own git and network.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/registry.h"

namespace atl::sandbox {

struct CloneRequest {
  std::string repo;
  std::optional<std::string> branch;
  std::optional<std::string> dir;  // /workspace/<name> when absent
  std::optional<int64_t> depth;
};

struct CloneResult {
  std::string repo;  // without user and password
  std::string dir;
  std::string branch;  // what was checked out; "HEAD" when it is no branch
  std::string commit;  // empty for an empty repository
};

// Only http and https; nothing that git, a shell or a log could take for something else. Fails with
// INVALID_GIT_URL.
Result<void> ValidateRepoUrl(std::string_view url);
// The directory that `git clone` would choose: "https://host/a/b.git/" is "b".
Result<std::string> NameFromUrl(std::string_view url);
// Absolute, without ".", ".." and doubled slashes; they are resolved by name alone.
Result<std::string> NormalizeDir(std::string_view dir);
// The rules of git-check-ref-format that keep a name from being an option or a pattern.
Result<void> ValidateBranch(std::string_view branch);
// `url` without user and password.
std::string RedactUrl(std::string_view url);

// What git's messages mean.
Error CloneError(std::string_view stderr_text, const CloneRequest& request);

// The target appears as a whole or not at all. A caller that is cancelled ends the clone and leaves
// nothing behind.
async::Task<Result<CloneResult>> GitClone(std::shared_ptr<Sandbox> sandbox, CloneRequest request);

}  // namespace atl::sandbox
