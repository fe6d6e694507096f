// SPDX-License-Identifier: Apache-2.0
// Which directories may be archived and replaced, and what both directions share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/messages.h"
#include "sys/fd.h"

namespace atl::agent {

// Opens a directory by an absolute path without symlinks. Refuses `/`, what belongs to the system
// (/proc, /sys, /dev, /.atoll) and anything on a pseudo file system.
Result<sys::Fd> OpenArchiveDir(const std::string& path);

// Makes what is missing of a directory's path, following no symlink; says what it made, outermost
// first, for RemoveMadeDirs to take back when the directory stayed empty.
Result<std::vector<std::string>> MakeMissingDirs(const std::string& path);
void RemoveMadeDirs(const std::vector<std::string>& made);

// The names in a directory, "." and ".." left out, sorted.
Result<std::vector<std::string>> ListNames(int dir);

// `tar-out` and `tar-in`: the archive goes through stdin or stdout, the outcome (an End or Error
// frame) to stderr. The exit code is 0 when there is an outcome.
int TarOutMain(const std::string& dir);
int TarInMain(const std::string& dir);

// Writes the outcome to stderr.
int ReportOutcome(const Result<protocol::End>& outcome);

}  // namespace atl::agent
