// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pid_one.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>
#include <string_view>

#include "sys/fd.h"

namespace atl::sandbox {

bool HasEnded(int pidfd) {
  pollfd poll{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

namespace {

// Sent, and not yet acted upon: whoever stood still when it came begins to end when next scheduled.
bool IsKilled(pid_t pid) {
  constexpr uint64_t kKill = 1ULL << (SIGKILL - 1);
  constexpr std::string_view kNames[] = {"SigPnd:\t", "ShdPnd:\t"};  // of the thread, of all
  auto status = sys::ReadFile(fmt::format("/proc/{}/status", pid), 8192);
  if (!status) return false;
  return std::ranges::any_of(kNames, [&status](std::string_view name) {
    size_t at = status->find(name);
    if (at == std::string::npos) return false;
    uint64_t pending = 0;
    std::from_chars(status->data() + at + name.size(), status->data() + status->size(), pending,
                    16);
    return (pending & kKill) != 0;
  });
}

bool IsExiting(pid_t pid) {
  constexpr uint32_t kExiting = 4;  // PF_EXITING
  constexpr int kFlags = 7;         // of the fields behind the name
  auto stat = sys::ReadFile(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat) return false;
  std::istringstream fields(stat->substr(std::min(stat->rfind(')') + 1, stat->size())));
  std::string field;
  for (int i = 0; i < kFlags; ++i) fields >> field;
  uint32_t flags = 0;
  std::from_chars(field.data(), field.data() + field.size(), flags);
  return (flags & kExiting) != 0;
}

}  // namespace

// In this order: the signal is taken before the end begins.
bool IsEnding(pid_t pid) { return IsKilled(pid) || IsExiting(pid); }

void AwaitEnd(int pidfd) {
  constexpr int kLimitMs = 10'000;
  pollfd poll{.fd = pidfd, .events = POLLIN, .revents = 0};
  ::poll(&poll, 1, kLimitMs);
}

}  // namespace atl::sandbox
