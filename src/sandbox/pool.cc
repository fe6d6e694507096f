// SPDX-License-Identifier: Apache-2.0
#include "sandbox/pool.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "crypto/sha256.h"
#include "oci/image.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

constexpr std::chrono::minutes kDemandTime{1};
// More than anybody keeps members for.
constexpr size_t kMaxDemand = 10'000;
constexpr uint32_t kDefaultGrowth = 4;
// What a member takes while it is made: measured, with what it needs for a moment.
constexpr uint64_t kMemberBytes = 32ULL << 20U;
constexpr uint64_t kOpencodeBytes = 512ULL << 20U;
constexpr uint64_t kOpencodePids = 128;

uint64_t CostOf(const PoolOptions& options) {
  return kMemberBytes + (options.opencode ? kOpencodeBytes : 0);
}

// Which file it is, and since when: what is replaced or written anew is another.
Result<std::string> FileIdentity(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return FailErrno(errno, path);
  return fmt::format("{}:{}:{}:{}.{}", path, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

}  // namespace

size_t Wanted(const PoolOptions& options, size_t demand) {
  if (options.warm_target == 0) return 0;
  size_t least = options.min != 0 ? options.min : options.warm_target;
  size_t most = options.max != 0 ? options.max : size_t{options.warm_target} * kDefaultGrowth;
  // What is asked for outright goes before what is only a bound.
  return std::clamp(demand, least, std::max(least, most));
}

int64_t PoolChange(const PoolOptions& options, size_t wanted, size_t members, size_t others) {
  auto batch = static_cast<size_t>(std::max(1U, options.scale_batch_size));
  if (members > wanted) return -static_cast<int64_t>(std::min(batch, members - wanted));
  size_t more = std::min(batch, wanted - members);
  if (options.max_instances != 0) {
    size_t total = members + others;
    size_t room = options.max_instances > total ? options.max_instances - total : 0;
    more = std::min(more, room);
  }
  return static_cast<int64_t>(more);
}

Result<HostLoad> ReadHostLoad() {
  ASSIGN(std::string memory, sys::ReadFile("/proc/meminfo", 64U << 10U));
  ASSIGN(std::string load, sys::ReadFile("/proc/loadavg", 4096));
  constexpr std::string_view kField = "MemAvailable:";
  size_t at = memory.find(kField);
  if (at == std::string::npos) return Fail(Code::kInternal, "/proc/meminfo has no MemAvailable");
  HostLoad found;
  found.available_bytes = std::strtoull(memory.c_str() + at + kField.size(), nullptr, 10) * 1024;
  found.load_per_cpu = std::strtod(load.c_str(), nullptr) /
                       static_cast<double>(std::max(1U, std::thread::hardware_concurrency()));
  return found;
}

bool HasHeadroom(const PoolOptions& options, const HostLoad& load) {
  return load.available_bytes >= options.free_memory + CostOf(options) &&
         load.load_per_cpu <= options.max_load;
}

// At half of what is to stay free, so that members do not come and go at the edge.
bool IsShort(const PoolOptions& options, const HostLoad& load) {
  return load.available_bytes < options.free_memory / 2;
}

void Demand::Note(Clock::time_point now) {
  if (asked_.size() == kMaxDemand) asked_.pop_front();
  asked_.push_back(now);
}

size_t Demand::LastMinute(Clock::time_point now) {
  while (!asked_.empty() && now - asked_.front() > kDemandTime) asked_.pop_front();
  return asked_.size();
}

Result<std::string> PoolKey(const PoolIdentity& identity) {
  ASSIGN(oci::Image image, oci::ImageStore(identity.images_dir).Find(identity.image));
  ASSIGN(std::string root, FileIdentity(image.rootfs));
  std::string text =
      fmt::format("{}\n{} {} {}\n{}\n", image.name, image.created, image.bytes, image.files, root);
  for (const std::string& path : identity.binaries) {
    ASSIGN(std::string one, FileIdentity(path));
    text += one + "\n";
  }
  const Limits& limits = identity.limits;
  text += fmt::format("{} {} {} {} {} {}\n", limits.memory_bytes, limits.cpus, limits.pids,
                      limits.disk_bytes, limits.inodes, limits.weight);
  for (const auto& [name, value] : identity.env) {
    text += fmt::format("{}:{}={}:{}\n", name.size(), name, value.size(), value);
  }
  text += identity.hooks;
  // The steady clock begins anew with the host, and timers of a checkpoint would wait for its past.
  ASSIGN(std::string boot, sys::ReadFile("/proc/sys/kernel/random/boot_id", 64));
  text += boot;
  return crypto::Sha256Hex(text);
}

bool CanBecome(const Limits& made, const Limits& wanted, bool opencode) {
  // What it uses already has to fit.
  if (opencode && (wanted.memory_bytes < kOpencodeBytes || wanted.pids < kOpencodePids))
    return false;
  // The others are a matter of its cgroup; these are of the layer that it has.
  return made.disk_bytes == wanted.disk_bytes && made.inodes == wanted.inodes;
}

}  // namespace atl::sandbox
