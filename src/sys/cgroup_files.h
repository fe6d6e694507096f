// SPDX-License-Identifier: Apache-2.0
// What the kernel says in the files of a cgroup. For the files of this room that are about cgroups.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace atl::sys {

bool Exists(const std::string& path);
// The decimal number that `text` begins with; 0 when it begins with none.
uint64_t ParseNumber(std::string_view text);
// A file that holds one number, or is missing: 0.
uint64_t ReadNumber(const std::string& path);
// The number after `key` in a file of `key number` lines.
uint64_t ReadField(const std::string& path, std::string_view key);
// Adds the processes of a group.
void ReadPids(const std::string& group, std::set<int>& pids);

}  // namespace atl::sys
