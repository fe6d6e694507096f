// SPDX-License-Identifier: Apache-2.0
#include "agent/shell_watch.h"

#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>

#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr std::chrono::milliseconds kPause{250};
// Looks rather than times: whoever does not look, because the machine has stopped, does not judge.
constexpr int kStoppedLooks = 20;
// Of one that knows of the command, and of one that may have to read or write a large state first.
constexpr int kIdleLooks = 20;
constexpr int kIdleLooksBefore = 240;
constexpr uint64_t kBusySecondsBefore = 20;

struct Stat {
  char state = 0;
  uint64_t cpu_ticks = 0;
};

std::optional<Stat> StatOf(pid_t pid) {
  auto text = sys::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  size_t at = text ? text->rfind(')') : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  Stat stat;
  unsigned long long user = 0;
  unsigned long long system = 0;
  if (std::sscanf(text->c_str() + at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                  &stat.state, &user, &system) != 3) {
    return std::nullopt;
  }
  stat.cpu_ticks = user + system;
  return stat;
}

}  // namespace

ShellWatch::ShellWatch(const Shell* shell) : shell_(shell), next_look_(Clock::now() + kPause) {}

bool ShellWatch::IsBetweenCommands() const {
  struct stat pipe{};
  if (fstat(shell_->commands_fd(), &pipe) != 0) return false;
  std::string expected = "pipe:[" + std::to_string(pipe.st_ino) + "]";
  std::string path = "/proc/" + std::to_string(shell_->child()->pid()) + "/fd/250";
  std::array<char, 64> target{};
  // The kernel shows a process's descriptors to its user; root without capabilities is not enough.
  setfsgid(shell_->program().gid);
  setfsuid(shell_->program().uid);
  ssize_t size = readlink(path.c_str(), target.data(), target.size());
  setfsuid(0);
  setfsgid(0);
  return size > 0 && std::string_view(target.data(), static_cast<size_t>(size)) == expected;
}

bool ShellWatch::Note(char state, uint64_t cpu_ticks) {
  if (!cpu_before_ || told_ != shell_->told()) {
    told_ = shell_->told();
    cpu_before_ = cpu_ticks;
    idle_ = 0;
  }
  // What is only starved of processor time, or waits for a disk, is not idle.
  if (state == 'S' || state == 'T') ++idle_;
  auto second = static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  uint64_t busy = cpu_ticks - *cpu_before_;
  if (told_) return idle_ >= kIdleLooks || busy >= second / 2;
  return idle_ >= kIdleLooksBefore || busy >= second * kBusySecondsBefore;
}

bool ShellWatch::IsStuck() {
  next_look_ = Clock::now() + kPause;
  auto stat = StatOf(static_cast<pid_t>(shell_->child()->pid()));
  if (!stat) return false;
  stopped_ = stat->state == 'T' ? stopped_ + 1 : 0;
  if (stopped_ >= kStoppedLooks) return true;
  if (IsBetweenCommands()) return Note(stat->state, stat->cpu_ticks);
  cpu_before_.reset();
  return false;
}

}  // namespace atl::agent
