// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <set>
#include <thread>

#include "sys/cgroup_files.h"

namespace atl::sys {
namespace {

constexpr std::chrono::seconds kKillTime{10};
constexpr uint64_t kCpuPeriodUsec = 100'000;
constexpr uint64_t kSharesOfWeight100 = 1024;
constexpr uint64_t kMostBfqWeight = 1000;
constexpr std::chrono::microseconds kFreezePause{200};
constexpr std::chrono::microseconds kLongestFreezePause{2'000};

bool HasItem(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    if (list.substr(0, comma) == item) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

// What the processes of a group have used so far, where no controller counts it: without those that
// have ended.
uint64_t ProcessTimes(const std::string& leaf) {
  std::set<int> pids;
  if (!leaf.empty()) ReadPids(leaf, pids);
  uint64_t ticks = 0;
  for (int pid : pids) {
    auto text = ReadFile(fmt::format("/proc/{}/stat", pid), 4096);
    // Behind the name, which may hold anything: utime and stime are fields 14 and 15 (proc(5)).
    size_t at = text ? text->rfind(')') : std::string::npos;
    for (int field = 2; at != std::string::npos && field < 14; ++field)
      at = text->find(' ', at + 1);
    if (at == std::string::npos) continue;
    size_t next = text->find(' ', at + 1);
    if (next == std::string::npos) continue;
    ticks += ParseNumber(std::string_view(*text).substr(at + 1, next - at - 1));
    ticks +=
        ParseNumber(std::string_view(*text).substr(next + 1, text->find(' ', next + 1) - next - 1));
  }
  static const auto kPerSecond = static_cast<uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  return ticks * 1'000'000 / kPerSecond;
}

// Freezing is asked for, and then happens: each process has to come by a place where it can stop.
bool IsFrozenV1(const std::string& state) {
  auto text = ReadFile(state, 4096);
  return text && text->starts_with("FROZEN");
}

// A group without processes stands still, whatever the kernel calls it.
bool IsFrozenV2(const std::string& work) {
  auto text = ReadFile(work + "/cgroup.events", 4096);
  if (!text) return false;
  std::string lines = "\n" + *text + "\n";
  return lines.find("\nfrozen 1\n") != std::string::npos ||
         lines.find("\npopulated 0\n") != std::string::npos;
}

Result<void> RemoveGroup(const std::string& path) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  return FailErrno(errno, fmt::format("removing the cgroup {}", path));
}

}  // namespace

std::string_view CgroupModeName(CgroupMode mode) {
  switch (mode) {
    case CgroupMode::kV1:
      return "v1";
    case CgroupMode::kHybrid:
      return "hybrid";
    case CgroupMode::kV2:
      return "v2";
  }
  return "?";
}

std::string Cgroup::WorkOf(std::string_view controller) const {
  for (const Place& place : places_) {
    if (mode_ == CgroupMode::kV2 || HasItem(place.controllers, controller)) {
      return place.path + "/work";
    }
  }
  return {};
}

std::string Cgroup::work_dir() const {
  return mode_ == CgroupMode::kV2 ? places_.front().path + "/work" : std::string();
}

Result<std::vector<Fd>> Cgroup::OpenProcs(std::string_view leaf) const {
  std::vector<Fd> files;
  for (const Place& place : places_) {
    ASSIGN(Fd file, Open(fmt::format("{}/{}/cgroup.procs", place.path, leaf), O_WRONLY));
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::vector<Fd>> Cgroup::OpenAgentProcs() const { return OpenProcs("agent"); }
Result<std::vector<Fd>> Cgroup::OpenWorkProcs() const { return OpenProcs("work"); }

// Neither limit may pass the other on the way: the order depends on whether they grow.
Result<void> Cgroup::SetMemoryV1(uint64_t bytes) const {
  std::string work = WorkOf("memory");
  std::string value = fmt::format("{}", bytes);
  std::string memory = work + "/memory.limit_in_bytes";
  std::string with_swap = work + "/memory.memsw.limit_in_bytes";
  if (!Exists(with_swap)) {
    // No accounting of swap: at least prefer not to use it.
    (void)WriteFile(work + "/memory.swappiness", "0");
    return WriteFile(memory, value);
  }
  if (WriteFile(memory, value)) return WriteFile(with_swap, value);
  TRY(WriteFile(with_swap, value));
  return WriteFile(memory, value);
}

// Of the whole sandbox: its siblings are the other sandboxes. I/O has weights on v2 only, where the
// device's scheduler knows them.
Result<void> Cgroup::SetWeight(uint64_t weight) const {
  for (const Place& place : places_) {
    if (mode_ == CgroupMode::kV2) {
      if (Exists(place.path + "/cpu.weight")) {
        TRY(WriteFile(place.path + "/cpu.weight", fmt::format("{}", weight)));
      }
      // Two schedulers, two files: io.cost, where the host has set it up, and bfq.
      if (Exists(place.path + "/io.weight")) {
        TRY(WriteFile(place.path + "/io.weight", fmt::format("default {}", weight)));
      }
      if (Exists(place.path + "/io.bfq.weight")) {
        uint64_t most = std::min(weight, kMostBfqWeight);
        TRY(WriteFile(place.path + "/io.bfq.weight", fmt::format("{}", most)));
      }
    } else if (HasItem(place.controllers, "cpu")) {
      uint64_t shares = std::max<uint64_t>(2, weight * kSharesOfWeight100 / 100);
      TRY(WriteFile(place.path + "/cpu.shares", fmt::format("{}", shares)));
    }
  }
  return {};
}

Result<void> Cgroup::SetLimits(const CgroupLimits& limits) const {
  if (limits.memory_bytes != 0) {
    std::string work = WorkOf("memory");
    if (work.empty()) return Fail(Code::kFailedPrecondition, "the host cannot limit memory");
    if (mode_ == CgroupMode::kV2) {
      if (Exists(work + "/memory.swap.max")) TRY(WriteFile(work + "/memory.swap.max", "0"));
      TRY(WriteFile(work + "/memory.max", fmt::format("{}", limits.memory_bytes)));
    } else {
      TRY(SetMemoryV1(limits.memory_bytes));
    }
  }
  if (limits.pids != 0) {
    std::string work = WorkOf("pids");
    if (work.empty()) return Fail(Code::kFailedPrecondition, "the host cannot limit processes");
    TRY(WriteFile(work + "/pids.max", fmt::format("{}", limits.pids)));
  }
  if (limits.cpus > 0) {
    std::string work = WorkOf("cpu");
    if (work.empty()) return Fail(Code::kFailedPrecondition, "the host cannot limit CPU time");
    auto quota = std::max<int64_t>(1000, std::llround(limits.cpus * double{kCpuPeriodUsec}));
    if (mode_ == CgroupMode::kV2) {
      TRY(WriteFile(work + "/cpu.max", fmt::format("{} {}", quota, kCpuPeriodUsec)));
    } else {
      TRY(WriteFile(work + "/cpu.cfs_period_us", fmt::format("{}", kCpuPeriodUsec)));
      TRY(WriteFile(work + "/cpu.cfs_quota_us", fmt::format("{}", quota)));
    }
  }
  if (limits.weight != 0) TRY(SetWeight(limits.weight));
  return {};
}

Result<CgroupUsage> Cgroup::Usage() const {
  CgroupUsage usage;
  std::string memory = WorkOf("memory");
  if (!memory.empty() && !Exists(memory)) {
    return Fail(Code::kNotFound, fmt::format("no cgroup {}", memory));
  }
  if (mode_ == CgroupMode::kV2) {
    usage.memory_bytes = ReadNumber(memory + "/memory.current");
    usage.inactive_file_bytes = ReadField(memory + "/memory.stat", "inactive_file");
    usage.oom_kills = ReadField(memory + "/memory.events", "oom_kill");
    usage.cpu_usec = ReadField(memory + "/cpu.stat", "usage_usec");
  } else {
    if (!memory.empty()) {
      usage.memory_bytes = ReadNumber(memory + "/memory.usage_in_bytes");
      usage.inactive_file_bytes = ReadField(memory + "/memory.stat", "total_inactive_file");
      usage.oom_kills = ReadField(memory + "/memory.oom_control", "oom_kill");
    }
    std::string cpuacct = WorkOf("cpuacct");
    usage.cpu_usec = cpuacct.empty() ? ProcessTimes(WorkOf("pids"))
                                     : ReadNumber(cpuacct + "/cpuacct.usage") / 1000;
  }
  std::string pids = WorkOf("pids");
  if (!pids.empty()) usage.pids = ReadNumber(pids + "/pids.current");
  return usage;
}

Result<std::vector<int>> Cgroup::Processes() const {
  std::set<int> pids;
  for (const Place& place : places_) {
    for (const char* leaf : {"/work", "/agent", "/clients", ""}) ReadPids(place.path + leaf, pids);
  }
  return std::vector<int>(pids.begin(), pids.end());
}

Result<void> Cgroup::Freeze(bool frozen, std::chrono::milliseconds limit) const {
  bool v2 = mode_ == CgroupMode::kV2;
  std::string work = WorkOf("freezer");
  std::string control = work + (v2 ? "/cgroup.freeze" : "/freezer.state");
  // Kernels before 5.2 have none on v2. A group that is gone is another matter.
  if (work.empty() || (!Exists(control) && Exists(work))) {
    if (!frozen) return {};
    return Fail(Code::kFailedPrecondition, "the host cannot freeze processes",
                "FREEZE_UNSUPPORTED");
  }
  std::string_view freeze = v2 ? "1" : "FROZEN";
  std::string_view thaw = v2 ? "0" : "THAWED";
  if (!frozen) return WriteFile(control, thaw);
  TRY(WriteFile(control, freeze));
  auto deadline = std::chrono::steady_clock::now() + limit;
  auto pause = kFreezePause;
  while (v2 ? !IsFrozenV2(work) : !IsFrozenV1(control)) {
    if (std::chrono::steady_clock::now() >= deadline) {
      (void)WriteFile(control, thaw);
      return Fail(Code::kTimeout,
                  fmt::format("the processes of the cgroup {} did not stand still within {} ms",
                              name_, limit.count()),
                  "FREEZE_TIMEOUT");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongestFreezePause);
    // v1 asks to be told again when it did not reach every process at once.
    if (!v2) TRY(WriteFile(control, freeze));
  }
  return {};
}

bool Cgroup::IsFrozen() const {
  std::string work = WorkOf("freezer");
  if (work.empty()) return false;
  if (mode_ != CgroupMode::kV2) return IsFrozenV1(work + "/freezer.state");
  return ReadNumber(work + "/cgroup.freeze") == 1;
}

Result<void> Cgroup::AwaitAgent(std::chrono::milliseconds limit) const {
  std::string work = WorkOf("freezer");
  if (work.empty()) return {};
  std::string agent = work.substr(0, work.rfind('/')) + "/agent";
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    std::set<int> pids;
    ReadPids(agent, pids);
    if (!pids.empty()) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return Fail(Code::kTimeout, fmt::format("the agent has not left {}", work), "FREEZE_TIMEOUT");
    }
    std::this_thread::sleep_for(kLongestFreezePause);
  }
}

Result<void> Cgroup::Kill() const {
  auto deadline = std::chrono::steady_clock::now() + kKillTime;
  auto pause = std::chrono::microseconds(200);
  bool thawed = false;
  for (;;) {
    ASSIGN(std::vector<int> pids, Processes());
    if (pids.empty()) return {};
    if (mode_ == CgroupMode::kV2 && Exists(places_.front().path + "/cgroup.kill")) {
      TRY(WriteFile(places_.front().path + "/cgroup.kill", "1"));
    } else {
      for (int pid : pids) ::kill(pid, SIGKILL);
    }
    // What is frozen takes no signal on v1; v2 kills it all the same.
    if (!thawed) (void)Freeze(false);
    thawed = true;
    if (std::chrono::steady_clock::now() > deadline) {
      return Fail(Code::kTimeout,
                  fmt::format("{} processes of the cgroup {} do not end", pids.size(), name_));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20'000));
  }
}

Result<void> Cgroup::Remove() const {
  auto deadline = std::chrono::steady_clock::now() + kKillTime;
  auto pause = std::chrono::microseconds(200);
  for (;;) {
    TRY(Kill());
    Result<void> removed;
    for (const Place& place : places_) {
      for (const char* leaf : {"/work", "/agent", "/clients", ""}) {
        if (removed) removed = RemoveGroup(place.path + leaf);
      }
    }
    // Processes that have ended leave their group a moment later, and one may have joined
    // meanwhile.
    bool busy = !removed && removed.error().sys_errno == EBUSY;
    if (!busy || std::chrono::steady_clock::now() > deadline) return removed;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20'000));
  }
}

}  // namespace atl::sys
