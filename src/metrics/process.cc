// SPDX-License-Identifier: Apache-2.0
#include "metrics/process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace atl::metrics {
namespace {

std::string ReadProc(const char* path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "re"), &std::fclose);
  if (!file) return {};
  char buffer[8192];
  return {buffer, std::fread(buffer, 1, sizeof(buffer), file.get())};
}

// Field `number` of /proc/self/stat, counted from 1 as proc(5) does. The second, the program's
// name, may hold spaces and brackets.
std::optional<double> StatField(int number) {
  std::string text = ReadProc("/proc/self/stat");
  size_t at = text.rfind(')');
  for (int i = 2; i < number && at != std::string::npos; ++i) at = text.find(' ', at + 1);
  if (at == std::string::npos) return std::nullopt;
  double value = 0;
  const char* begin = text.data() + at + 1;
  auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::optional<double> CpuSeconds() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::optional<double> OpenDescriptors() {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), &::closedir);
  if (!dir) return std::nullopt;
  double count = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] != '.') ++count;
  }
  return count - 1;  // the one that this look needs
}

std::optional<double> MaxDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

std::optional<double> ResidentBytes() {
  std::optional<double> pages = StatField(24);
  if (!pages) return std::nullopt;
  return *pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// Since the host started, in its ticks; made a time by the host's clocks.
std::optional<double> StartTime() {
  std::optional<double> ticks = StatField(22);
  timespec now{};
  timespec up{};
  if (!ticks || ::clock_gettime(CLOCK_REALTIME, &now) != 0 ||
      ::clock_gettime(CLOCK_BOOTTIME, &up) != 0) {
    return std::nullopt;
  }
  double boot = static_cast<double>(now.tv_sec - up.tv_sec) +
                static_cast<double>(now.tv_nsec - up.tv_nsec) / 1e9;
  return boot + *ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void AddOne(Set& set, std::string name, std::string help, Type type,
            std::optional<double> (*look)()) {
  set.AddCollected(std::move(name), std::move(help), type, [look] {
    std::vector<Sample> samples;
    if (std::optional<double> value = look()) samples.push_back({.labels = {}, .value = *value});
    return samples;
  });
}

}  // namespace

void AddProcessMetrics(Set& set) {
  AddOne(set, "process_cpu_seconds_total", "User and system CPU time of the daemon.",
         Type::kCounter, CpuSeconds);
  AddOne(set, "process_open_fds", "Open file descriptors of the daemon.", Type::kGauge,
         OpenDescriptors);
  AddOne(set, "process_max_fds", "How many file descriptors the daemon may open.", Type::kGauge,
         MaxDescriptors);
  AddOne(set, "process_resident_memory_bytes", "Resident memory of the daemon.", Type::kGauge,
         ResidentBytes);
  AddOne(set, "process_virtual_memory_bytes", "Virtual memory of the daemon.", Type::kGauge,
         [] { return StatField(23); });
  AddOne(set, "process_start_time_seconds", "When the daemon started, as Unix time.", Type::kGauge,
         StartTime);
}

}  // namespace atl::metrics
