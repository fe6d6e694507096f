// SPDX-License-Identifier: Apache-2.0
// Users of the sandbox by name or number, from its own /etc/passwd and /etc/group: the agent is
// static and cannot ask the C library.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::agent {

struct FileUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // all that the user is in
};

// "name", "1000", either with ":group"; without one, the user's own group. USER_NOT_FOUND.
Result<FileUser> FindUser(const std::string& text);

// What chown takes: either part may be missing, and -1 leaves it.
struct FileOwner {
  uint32_t uid = UINT32_MAX;
  uint32_t gid = UINT32_MAX;
};
Result<FileOwner> FindOwner(const std::string& text);

// This process becomes the user's for good and loses its capabilities. Only in a child of its own.
Result<void> BecomeUser(const FileUser& user);

}  // namespace atl::agent
