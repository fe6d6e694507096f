// SPDX-License-Identifier: Apache-2.0
#include "agent/descendants.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxEnviron = 2U << 20U;

bool Descends(int proc, const char* pid, const std::vector<std::string>& marks) {
  auto environ = sys::ReadFileAt(proc, std::string(pid) + "/environ", kMaxEnviron);
  if (!environ) return false;
  std::string_view rest = *environ;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\0'), rest.size());
    std::string_view variable = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (variable.starts_with(kDescent)) return std::ranges::find(marks, variable) != marks.end();
  }
  return false;
}

}  // namespace

bool SignalDescendants(const std::vector<std::string>& marks, const std::vector<pid_t>& leaders,
                       int signo) {
  bool any = false;
  DIR* proc = marks.empty() ? nullptr : opendir("/proc");
  if (proc == nullptr) return false;
  while (dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    auto [stop, error] = std::from_chars(entry->d_name, end, pid);
    if (error != std::errc() || stop != end || pid <= 1) continue;
    if (std::ranges::find(leaders, getsid(pid)) != leaders.end()) continue;
    // Taken first, so that the number cannot become another's meanwhile.
    sys::Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!process || !Descends(dirfd(proc), entry->d_name, marks)) continue;
    any = true;
    if (signo != 0) syscall(SYS_pidfd_send_signal, process.get(), signo, nullptr, 0);
  }
  closedir(proc);
  return any;
}

}  // namespace atl::agent
