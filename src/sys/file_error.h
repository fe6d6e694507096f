// SPDX-License-Identifier: Apache-2.0
// What a failed call says of a file that a client has named, and which files may be touched where a
// call must not block.
#pragma once

#include <string_view>

#include "base/result.h"

namespace atl::sys {

// As ErrnoError, but for what is about the client's file rather than about us: a full disk is no
// reason to ask again, a loop of symlinks is a wrong path, an entry in use is a conflict.
Error FileError(int err, std::string_view what);
Unexpected FailFile(int err, std::string_view what);

enum class PlainFile {
  kNo,      // not regular, or somewhere where calls may wait for somebody or have effects
  kMemory,  // in memory
  kDisk,
};
// Of an open descriptor.
PlainFile PlainFileOf(int fd);

}  // namespace atl::sys
