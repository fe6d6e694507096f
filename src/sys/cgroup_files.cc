// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "sys/fd.h"

namespace atl::sys {

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

uint64_t ParseNumber(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

uint64_t ReadNumber(const std::string& path) {
  auto text = ReadFile(path, 4096);
  return text ? ParseNumber(*text) : 0;
}

uint64_t ReadField(const std::string& path, std::string_view key) {
  auto text = ReadFile(path, 65536);
  if (!text) return 0;
  std::string wanted = fmt::format("{} ", key);
  size_t at = text->starts_with(wanted) ? 0 : text->find("\n" + wanted);
  if (at == std::string::npos) return 0;
  at = text->find(' ', at) + 1;
  return ParseNumber(std::string_view(*text).substr(at));
}

void ReadPids(const std::string& leaf, std::set<int>& pids) {
  auto text = ReadFile(leaf + "/cgroup.procs");
  if (!text) return;
  std::string_view rest = *text;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    // 0 stands for a process of another pid namespace.
    if (uint64_t pid = ParseNumber(rest.substr(0, end)); pid > 1)
      pids.insert(static_cast<int>(pid));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace atl::sys
