// SPDX-License-Identifier: Apache-2.0
// As whom a file is touched: a user with all the groups that the user is in, and owners of files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::agent {

struct FileUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // all that the user is in
};

// By what FindUser of user.h takes. USER_NOT_FOUND.
Result<FileUser> FindFileUser(const std::string& text);

// What chown takes: "user", "user:group" or ":group"; -1 leaves what is missing.
struct FileOwner {
  uint32_t uid = UINT32_MAX;
  uint32_t gid = UINT32_MAX;
};
Result<FileOwner> FindOwner(const std::string& text);

// This process becomes the user's for good and loses its capabilities. Only in a child of its own.
Result<void> BecomeUser(const FileUser& user);

}  // namespace atl::agent
