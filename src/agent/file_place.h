// SPDX-License-Identifier: Apache-2.0
// Looking up the paths that clients name. Symlinks are followed within the sandbox, for its owner
// asks; the magic links of /proc are not, since those of the agent lead to what is its own.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"
#include "protocol/files.h"
#include "sys/fd.h"

namespace atl::agent {

// An absolute path that the kernel would take.
Result<void> CheckPath(const std::string& path);

// The open directory that holds an entry, and the entry's name in it, be it there or not.
struct Place {
  sys::Fd dir;
  std::string name;  // "." for the root of the file system
  std::string path;  // for messages
};

enum class Follow { kNo, kYes };
// `follow`: where the entry is a symlink, the place that it leads to.
Result<Place> FindPlace(const std::string& path, Follow follow);
// The same for what is made, moved or removed: the root, "." and ".." are refused.
Result<Place> FindNamedPlace(const std::string& path, Follow follow);

// O_PATH and what else is given.
Result<sys::Fd> OpenPath(const std::string& path, Follow follow, int flags = 0);
// Opens what an O_PATH descriptor stands for, without waiting for anybody.
Result<sys::Fd> Reopen(int path_fd, int flags, const std::string& path);

Result<protocol::FileInfo> InfoOf(int fd, const std::string& path);
Result<protocol::FileInfo> InfoAt(const Place& place);
protocol::FileInfo ToInfo(const struct statx& st);

// Makes the directories above `path` that are missing.
Result<void> MakeParents(const std::string& path);

}  // namespace atl::agent
