// SPDX-License-Identifier: Apache-2.0
// The directories beside a directory's own entries in which a restore works. Their names say what
// they are worth:
//
//   .atoll-restore-X   a restore that is not decided: rubbish once its process is gone
//   .atoll-ready-X     a decided one: whoever finds it makes the changes of its journal
//   .atoll-old-X       rubbish
//
// Each holds `new/` (what was staged), `old/` (what was moved away) and `journal`.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

inline constexpr std::string_view kRestorePrefix = ".atoll-restore-";
inline constexpr std::string_view kReadyPrefix = ".atoll-ready-";
inline constexpr std::string_view kOldPrefix = ".atoll-old-";

inline constexpr const char* kStagedDir = "new";
inline constexpr const char* kAwayDir = "old";

// Any of the three prefixes with an id.
bool IsStagingName(std::string_view name);
// 16 hex digits.
bool IsStagingId(std::string_view id);
std::string StagingName(std::string_view prefix, std::string_view id);
Result<std::string> NewStagingId();

// Makes `.atoll-restore-<id>` with its two directories and returns it opened. It inherits nothing
// from the directory: no group, no access control list.
Result<sys::Fd> MakeStaging(int root, const std::string& id);

// A directory below `root` by a relative path, through no symlink and no mount point. Empty: `root`
// itself.
Result<sys::Fd> OpenBeneath(int root, const std::string& path, int flags);

// "a/b/c" is {"a/b", "c"}, "c" is {"", "c"}.
std::pair<std::string, std::string> SplitPath(const std::string& path);

// rm -rf of an entry: by descriptors, through no symlink, as far as programs that still create
// entries in it let it. Entries that lie very deep are moved up to `flat` first.
Result<void> RemoveAt(int dir, const std::string& name, int flat);

// Removes the staging directories whose names begin with one of the prefixes; the time of `root`
// stays as it is.
void SweepPrefixes(int root, std::initializer_list<std::string_view> prefixes);
// All of them; the directory is settled.
void Sweep(int root);

}  // namespace atl::agent
