// SPDX-License-Identifier: Apache-2.0
// Which directories may be read and restored.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

// Opens a directory by an absolute path without symlinks. Refuses `/`, what belongs to the system
// (/proc, /sys, /dev, /.atoll) and anything on a pseudo file system.
Result<sys::Fd> OpenTargetDir(const std::string& path);

// Makes what is missing of a directory's path, following no symlink; says what it made, outermost
// first, for RemoveMadeDirs to take back when the directory stayed empty.
Result<std::vector<std::string>> MakeMissingDirs(const std::string& path);
void RemoveMadeDirs(const std::vector<std::string>& made);

// The names in a directory, "." and ".." left out, sorted.
Result<std::vector<std::string>> ListNames(int dir);

}  // namespace atl::agent
