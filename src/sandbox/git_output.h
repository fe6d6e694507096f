// SPDX-License-Identifier: Apache-2.0
// What git prints for programs (-z and NULs), as values. What runs as `git` in a sandbox may print
// anything: whatever it is, it becomes a bounded number of entries or GIT_OPERATION_FAILED. Names
// and texts are bytes as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::sandbox {

inline constexpr size_t kMostGitChanges = 10'000;
inline constexpr size_t kMostCommits = 1000;
inline constexpr size_t kMostBranches = 5000;

struct GitChange {
  // As `git status` shows them: ' ' for none, 'M', 'T', 'A', 'D', 'R', 'C', 'U'; '?' and '!' in
  // both for what is untracked or ignored.
  char index = ' ';
  char worktree = ' ';
  bool conflict = false;
  bool submodule = false;
  std::string path;
  std::string from;  // of what was renamed or copied
};

struct GitStatus {
  std::string branch;    // empty: HEAD is detached
  std::string commit;    // empty: there is none yet
  std::string upstream;  // "origin/main"; empty: none
  std::optional<uint64_t> ahead;
  std::optional<uint64_t> behind;
  std::vector<GitChange> changes;
  bool more = false;  // than `most`
};
// Of `status --porcelain=v2 --branch -z`. `cut`: the end was lost.
Result<GitStatus> ParseGitStatus(std::string_view bytes, bool cut, size_t most = kMostGitChanges);

struct GitCommit {
  std::string commit;
  std::vector<std::string> parents;
  std::string author;
  std::string author_email;
  int64_t author_time = 0;  // Unix seconds
  std::string committer;
  std::string committer_email;
  int64_t commit_time = 0;
  std::vector<std::string> refs;  // "refs/heads/main"
  std::string message;
};
// The format that ParseGitLog reads, for `log -z`.
inline constexpr std::string_view kGitLogFormat =
    "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%D%x00%B";
Result<std::vector<GitCommit>> ParseGitLog(std::string_view bytes, bool cut,
                                           size_t most = kMostCommits);

struct GitBranch {
  std::string name;  // "main", "origin/main"
  std::string commit;
  std::string upstream;
  std::string subject;
  int64_t commit_time = 0;
  bool remote = false;
  bool current = false;
};
inline constexpr std::string_view kGitBranchFormat =
    "--format=%(refname)%00%(objectname)%00%(upstream:short)%00%(HEAD)%00%(committerdate:unix)%00"
    "%(symref)%00%(contents:subject)%00";
Result<std::vector<GitBranch>> ParseGitBranches(std::string_view bytes, bool cut,
                                                size_t most = kMostBranches);

struct GitFileDiff {
  char status = 'M';  // 'A', 'C', 'D', 'M', 'R', 'T', 'U'
  std::string path;
  std::string from;               // of what was renamed or copied
  std::optional<uint64_t> added;  // lines; nothing: the file is no text
  std::optional<uint64_t> removed;
};
struct GitDiffFiles {
  std::vector<GitFileDiff> files;
  bool more = false;
};
// Of `diff --raw --numstat -z`.
Result<GitDiffFiles> ParseGitDiff(std::string_view bytes, bool cut, size_t most = kMostGitChanges);

struct GitPushed {
  // ' ' fast-forward, '+' forced, '-' deleted, '*' new, '!' refused, '=' as it was.
  char flag = ' ';
  std::string from;
  std::string to;
  std::string summary;
};
// Of `push --porcelain`.
Result<std::vector<GitPushed>> ParseGitPush(std::string_view bytes);

struct GitProgress {
  std::string phase;  // "Receiving objects"
  uint64_t done = 0;
  uint64_t total = 0;  // 0: not known
};
// A line of what git says with --progress; nothing for one that says something else.
std::optional<GitProgress> ParseGitProgress(std::string_view line);

}  // namespace atl::sandbox
