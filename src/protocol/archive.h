// SPDX-License-Identifier: Apache-2.0
// Directories as tar archives (POSIX pax), out of a sandbox and into it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/frame.h"
#include "protocol/wire.h"

namespace atl::protocol {

// A directory, names relative to it ("./a"), or one file. Answers kFileData frames, which are the
// archive, then End.
struct PackFiles {
  static constexpr FrameType kType = FrameType::kPackFiles;
  static constexpr bool kRequest = true;
  std::string path;
  std::string user;
  std::vector<std::string> exclude;  // globs as those of ListFiles
  void Fields(this auto& self, auto& io) { io(self.path), io(self.user), io(self.exclude); }
  bool operator==(const PackFiles&) const = default;
};

// Answers Ok, after which the client sends the archive as kFileData frames and then kFileCommit,
// which is answered by End. Nothing is written outside of `path`: absolute names, "..", devices and
// names behind a symlink are refused (INVALID_ARCHIVE), and so are symlinks that lead out, unless
// `any_links`. What came before what was refused stays.
struct UnpackFiles {
  static constexpr FrameType kType = FrameType::kUnpackFiles;
  static constexpr bool kRequest = true;
  std::string path;  // made if it is not there
  std::string user;
  bool any_links = false;
  bool keep_owners = true;  // as root: those of the archive
  uint64_t max_bytes = UINT64_MAX;
  uint64_t max_entries = 1'000'000;
  void Fields(this auto& self, auto& io) {
    io(self.path), io(self.user), io(self.any_links), io(self.keep_owners), io(self.max_bytes);
    io(self.max_entries);
  }
  bool operator==(const UnpackFiles&) const = default;
};

}  // namespace atl::protocol
