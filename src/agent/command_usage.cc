// SPDX-License-Identifier: Apache-2.0
#include "agent/command_usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sys/fd.h"

namespace atl::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{10};
constexpr milliseconds kMostPause{500};
// Looking takes no more than this part of the time, however many programs there are.
constexpr int kShare = 50;
constexpr size_t kMaxProcFile = 16UL * 1024;

std::string ReadOf(pid_t pid, const char* file) {
  return sys::ReadFile("/proc/" + std::to_string(pid) + "/" + file, kMaxProcFile).value_or("");
}

struct Cpu {
  uint64_t own_us = 0;
  uint64_t waited_us = 0;  // of its children that it has waited for
};

Cpu CpuOf(pid_t pid) {
  std::string stat = ReadOf(pid, "stat");
  size_t at = stat.rfind(')');
  unsigned long long user = 0;
  unsigned long long system = 0;
  unsigned long long waited_user = 0;
  unsigned long long waited_system = 0;
  if (at == std::string::npos ||
      std::sscanf(stat.c_str() + at + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
                  &system, &waited_user, &waited_system) != 4) {
    return {};
  }
  auto tick_us = 1'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return {.own_us = (user + system) * tick_us,
          .waited_us = (waited_user + waited_system) * tick_us};
}

uint64_t PeakBytes(pid_t pid) {
  std::string status = ReadOf(pid, "status");
  constexpr std::string_view kName = "\nVmHWM:";
  size_t at = status.find(kName);
  if (at == std::string::npos) return 0;
  return std::strtoull(status.c_str() + at + kName.size(), nullptr, 10) * 1024;
}

// Peaks are counted anew from what it has now (proc_pid_clear_refs(5)).
bool ForgetPeak(pid_t pid) {
  auto file = sys::Open("/proc/" + std::to_string(pid) + "/clear_refs", O_WRONLY);
  return file && write(file->get(), "5", 1) == 1;
}

}  // namespace

CommandUsage::CommandUsage(pid_t shell)
    : shell_(shell), pause_(kFirstLook), next_look_(Clock::now() + kFirstLook) {
  own_peak_ = ForgetPeak(shell);
  began_us_ = ShellCpuUs();
}

uint64_t CommandUsage::ShellCpuUs() const {
  Cpu cpu = CpuOf(shell_);
  // Its own time to the nanosecond, where the kernel tells that; a tick is long.
  std::string exact = ReadOf(shell_, "schedstat");
  uint64_t own_ns = std::strtoull(exact.c_str(), nullptr, 10);
  return (own_ns > 0 ? own_ns / 1000 : cpu.own_us) + cpu.waited_us;
}

void CommandUsage::Look(const std::vector<pid_t>& members, Clock::time_point begin) {
  running_us_ = 0;
  for (pid_t member : members) {
    peak_bytes_ = std::max(peak_bytes_, PeakBytes(member));
    Cpu cpu = CpuOf(member);
    running_us_ += cpu.own_us + cpu.waited_us;
  }
  Clock::time_point end = Clock::now();
  pause_ = std::min(pause_ * 2, kMostPause);
  next_look_ = end + std::max<Clock::duration>(pause_, (end - begin) * kShare);
}

protocol::Usage CommandUsage::Take(bool unreaped) const {
  protocol::Usage usage{.max_rss_bytes = peak_bytes_};
  uint64_t now_us = ShellCpuUs();
  usage.cpu_us = now_us - std::min(now_us, began_us_);
  if (unreaped) usage.cpu_us += running_us_;
  if (own_peak_) usage.max_rss_bytes = std::max(usage.max_rss_bytes, PeakBytes(shell_));
  return usage;
}

}  // namespace atl::agent
