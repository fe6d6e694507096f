// SPDX-License-Identifier: Apache-2.0
// Clones a repository inside a sandbox, with the sandbox's own git and network.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "sandbox/git_command.h"
#include "sandbox/git_output.h"
#include "sandbox/registry.h"

namespace atl::sandbox {

inline constexpr std::chrono::milliseconds kCloneLimit{600'000};

struct CloneRequest {
  std::string repo;
  std::optional<std::string> branch;
  std::optional<std::string> dir;  // /workspace/<name> when absent
  std::optional<int64_t> depth;
  std::string filter;               // "blob:none", "tree:0", "blob:limit=1m": the rest comes later
  std::vector<std::string> sparse;  // only these directories, and the files beside them
  GitCredentials credentials;       // of this clone; the repository does not keep them
  std::string user;                 // as of ExecRequest; the repository is theirs
  std::chrono::milliseconds timeout = kCloneLimit;  // then GIT_NETWORK_ERROR
};

struct CloneResult {
  std::string repo;  // without user and password
  std::string dir;
  std::string branch;  // what was checked out; "HEAD" when it is no branch
  std::string commit;  // empty for an empty repository
};

// http, https and ssh, also as user@host:path; nothing that git, a shell or a log could take for
// something else. Fails with INVALID_GIT_URL.
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

// What of those fields git would not understand.
Result<void> ValidateClone(const CloneRequest& request);

using OnGitProgress = std::function<void(const GitProgress&)>;

// The target appears as a whole or not at all. A caller that is cancelled ends the clone and leaves
// nothing behind.
async::Task<Result<CloneResult>> GitClone(std::shared_ptr<Sandbox> sandbox, CloneRequest request,
                                          OnGitProgress on_progress = nullptr);

}  // namespace atl::sandbox
