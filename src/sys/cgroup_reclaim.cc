// SPDX-License-Identifier: Apache-2.0
// Memory of what stands still, moved to swap.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "sys/cgroup.h"
#include "sys/cgroup_files.h"
#include "sys/page_out.h"

namespace atl::sys {
namespace {

// A group without a limit says one near the largest number, rounded to pages.
constexpr uint64_t kNoLimitV1 = 1ULL << 62U;
constexpr const char* kWilling = "60";
constexpr uint64_t kPiece = 32ULL << 20U;

Result<void> ReclaimV1(const std::string& work) {
  // See SetMemoryV1.
  std::string swappiness = work + "/memory.swappiness";
  bool reluctant = ReadNumber(swappiness) == 0;
  if (reluctant) (void)WriteFile(swappiness, kWilling);
  Result<void> reclaimed = WriteFile(work + "/memory.force_empty", "0");
  if (reluctant) (void)WriteFile(swappiness, "0");
  return reclaimed;
}

// As willing to swap as on v1, whatever the host's vm.swappiness is, where the kernel can be told
// (Linux 6.10).
Result<void> ReclaimV2(const std::string& work, uint64_t bytes) {
  std::string file = work + "/memory.reclaim";
  auto reclaimed = WriteFile(file, fmt::format("{} swappiness={}", bytes, kWilling));
  if (reclaimed || reclaimed.error().sys_errno != EINVAL) return reclaimed;
  return WriteFile(file, fmt::format("{}", bytes));
}

}  // namespace

bool HostHasSwap() {
  // A header line, and a line for every swap area.
  auto swaps = ReadFile("/proc/swaps", 1U << 16U);
  return swaps && std::ranges::count(*swaps, '\n') >= 2;
}

Result<void> Cgroup::Reclaim() const {
  if (!HostHasSwap()) return {};
  std::string work = WorkOf("memory");
  if (work.empty()) return {};
  std::set<int> pids;
  ReadPids(work, pids);
  for (int pid : pids) PageOutFiles(pid);
  if (mode_ != CgroupMode::kV2) return ReclaimV1(work);
  if (!Exists(work + "/memory.reclaim")) return {};
  // Programs that run have no swap. What stands still may have it: what is there stays there when
  // the limit is 0 again.
  std::string swap = work + "/memory.swap.max";
  bool limited = Exists(swap);
  if (limited) TRY(WriteFile(swap, "max"));
  uint64_t all = ReadNumber(work + "/memory.current");
  Result<void> reclaimed;
  // In pieces: who is woken meanwhile keeps the rest.
  for (uint64_t done = 0; done < all && reclaimed && IsFrozen(); done += kPiece) {
    reclaimed = ReclaimV2(work, std::min(kPiece, all - done));
  }
  if (limited) TRY(WriteFile(swap, "0"));
  // Less than all could be reclaimed.
  if (!reclaimed && reclaimed.error().sys_errno == EAGAIN) return {};
  return reclaimed;
}

Result<void> Cgroup::EndReclaim() const {
  std::string work = WorkOf("memory");
  if (work.empty()) return {};
  if (mode_ != CgroupMode::kV2) {
    std::string swappiness = work + "/memory.swappiness";
    bool alone = !Exists(work + "/memory.memsw.limit_in_bytes");
    bool limited = ReadNumber(work + "/memory.limit_in_bytes") < kNoLimitV1;
    if (alone && limited && Exists(swappiness)) (void)WriteFile(swappiness, "0");
    return {};
  }
  std::string swap = work + "/memory.swap.max";
  auto limit = ReadFile(work + "/memory.max", 64);
  if (!limit || limit->starts_with("max") || !Exists(swap)) return {};
  return WriteFile(swap, "0");
}

}  // namespace atl::sys
