// SPDX-License-Identifier: Apache-2.0
// Users by name, from the sandbox's own /etc/passwd and /etc/group. Not by libc: a static program
// cannot use its name services.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/spawner.h"
#include "base/result.h"

namespace atl::agent {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string name;  // empty: has none
  std::string home = "/";
  std::vector<uint32_t> groups;  // that name it, beside `gid`
};

// "name", "uid", "uid:gid", "name:group" by the texts of the two files. USER_NOT_FOUND.
Result<User> FindUser(std::string_view spec, std::string_view passwd, std::string_view group);

// Makes `program` one of the user's: its ids, and HOME, USER and LOGNAME where its environment has
// none. An empty spec is root.
Result<void> SetUser(std::string_view spec, Program* program);

}  // namespace atl::agent
