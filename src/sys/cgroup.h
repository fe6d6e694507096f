// SPDX-License-Identifier: Apache-2.0
// One view of cgroup v1, hybrid and v2. Every sandbox has a group `<root>/<name>` with two leaves:
// `agent` for its PID 1, `work` for everything else; limits and freezing apply to `work`. A third,
// `clients`, is for what serves it from outside, if anything does, and has limits of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

enum class CgroupMode { kV1, kHybrid, kV2 };
std::string_view CgroupModeName(CgroupMode mode);

struct CgroupLimits {
  uint64_t memory_bytes = 0;  // 0: no limit, here and below
  double cpus = 0;
  uint64_t pids = 0;
  // 1 to 10000, where 100 is everybody's: its part of CPU and I/O when several want all. Set where
  // the host can.
  uint64_t weight = 0;
};

struct CgroupUsage {
  uint64_t memory_bytes = 0;         // files that were read or written lately included
  uint64_t inactive_file_bytes = 0;  // of those: what is given up first when memory is short
  uint64_t pids = 0;
  uint64_t cpu_usec = 0;   // where the host does not count it: of the processes that live
  uint64_t oom_kills = 0;  // processes of `work` ended for want of memory, since it was made
};

// Whether what stands still can be moved out of memory.
bool HostHasSwap();

// The groups of one sandbox. A plain value: it owns nothing, the groups stay until Remove.
class Cgroup {
 public:
  // For config.json's linux.cgroupsPath.
  const std::string& work_path() const { return work_path_; }
  const std::string& name() const { return name_; }
  // v2: the directory of the `work` leaf; empty elsewhere, where it is several.
  std::string work_dir() const;

  // Opened for writing: a process that writes "0" to each of them moves itself to `agent`.
  Result<std::vector<Fd>> OpenAgentProcs() const;
  // The same of the `work` leaf, in the same order.
  Result<std::vector<Fd>> OpenWorkProcs() const;
  // The same of the `clients` leaf, which is made if it is not there, with these limits on memory
  // and processes.
  Result<std::vector<Fd>> OpenClientProcs(const CgroupLimits& limits) const;
  // crun resets the memory limit of a group that it enters: set limits after the container runs.
  Result<void> SetLimits(const CgroupLimits& limits) const;
  Result<CgroupUsage> Usage() const;
  Result<std::vector<int>> Processes() const;  // of all leaves, ascending
  // `work` only. Returns when every process stands still; when that takes longer than `limit` they
  // go on: kTimeout, FREEZE_TIMEOUT. Without a freezer there is nothing to thaw, and freezing is
  // FREEZE_UNSUPPORTED.
  Result<void> Freeze(bool frozen, std::chrono::milliseconds limit = std::chrono::seconds(2)) const;
  // Asks the kernel to move memory of `work` to swap, and to drop the files that its processes
  // alone map. Without swap nothing happens: taking what is only cached would make waking slow and
  // win little.
  Result<void> Reclaim() const;
  // Undoes what a Reclaim has changed that was cut short with its process.
  Result<void> EndReclaim() const;
  // Whether `work` was told to stand still.
  bool IsFrozen() const;
  // Waits until the sandbox's PID 1 has left `work` for its own leaf, where freezing does not reach
  // it. kTimeout when it does not.
  Result<void> AwaitAgent(std::chrono::milliseconds limit) const;
  // SIGKILL to every process of all leaves, until none is left.
  Result<void> Kill() const;
  // Kill, then removes the groups; those that are gone already are fine.
  Result<void> Remove() const;

 private:
  Result<std::vector<Fd>> OpenProcs(std::string_view leaf) const;
  friend class CgroupTree;
  CgroupMode mode_ = CgroupMode::kV1;
  std::string name_;
  std::string work_path_;
  // Where this sandbox's group is in each hierarchy: {"cpu,cpuacct", ".../atoll/<name>"}. On v2
  // there is one, whose controllers are not named.
  struct Place {
    std::string controllers;
    std::string path;
  };
  std::vector<Place> places_;

  // The `work` leaf in the hierarchy that has the controller; empty when none has.
  std::string WorkOf(std::string_view controller) const;
  Result<void> SetMemoryV1(uint64_t bytes) const;
  Result<void> SetWeight(uint64_t weight) const;
};

// Where a host shows its cgroups and says what it is. Tests name a tree of plain files.
struct CgroupHost {
  std::string mount_point = "/sys/fs/cgroup";
  std::string proc = "/proc";
};

class CgroupTree {
 public:
  // Finds the hierarchies, makes `<root>` in each and, on v2, hands the controllers down. On a v2
  // host `<root>` is made below what systemd delegated: the unit `<own>-sandboxes.service` beside
  // this process's `<own>.service`, or this process's own group; else at the top.
  static Result<CgroupTree> Open(const std::string& root, const CgroupHost& host = {});

  // Names the same groups for reading and clearing, without making or changing anything. `top`:
  // where another process has made them, as its top() says ("/" for none); empty: as Open would.
  static Result<CgroupTree> Inspect(const std::string& root, const std::string& top = {},
                                    const CgroupHost& host = {});

  CgroupMode mode() const { return mode_; }
  // v2: the group that `<root>` is in, "/" where that is the first one.
  std::string top() const { return top_.empty() ? "/" : top_; }
  const std::vector<std::string>& controllers() const { return controllers_; }
  // How many files OpenAgentProcs opens: one on v2, one per hierarchy on v1.
  size_t hierarchies() const { return places_.size(); }

  // Makes `<root>/<name>/{agent,work}`; those that exist stay.
  Result<Cgroup> Create(const std::string& name) const;
  // Names the groups without looking whether they exist.
  Cgroup Find(const std::string& name) const;
  // The names that have a group in any hierarchy, sorted.
  Result<std::vector<std::string>> List() const;
  // Whether groups can be made below `<root>`, in every hierarchy.
  Result<void> CheckWritable() const;
  // Removes `<root>` itself, when no sandbox is left.
  Result<void> RemoveRoot() const;

 private:
  static Result<CgroupTree> Look(const std::string& root, const std::string& pid,
                                 const CgroupHost& host, const std::string& top);
  Result<void> MakeRoot() const;

  CgroupMode mode_ = CgroupMode::kV1;
  std::string top_;        // v2: the group that `<root>` is made in: "/system.slice/x.service"
  std::string top_path_;   // the same below the mount point
  std::string root_path_;  // as crun names it: "/atoll"
  std::vector<std::string> controllers_;
  std::vector<Cgroup::Place> places_;  // of the root
};

}  // namespace atl::sys
