// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pid_one.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>

#include "sys/fd.h"

namespace atl::sandbox {

bool HasEnded(int pidfd) {
  pollfd poll{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

bool IsEnding(pid_t pid) {
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

void AwaitEnd(int pidfd) {
  constexpr int kLimitMs = 10'000;
  pollfd poll{.fd = pidfd, .events = POLLIN, .revents = 0};
  ::poll(&poll, 1, kLimitMs);
}

}  // namespace atl::sandbox
