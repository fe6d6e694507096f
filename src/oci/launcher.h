// SPDX-License-Identifier: Apache-2.0
// The one interface to what needs privilege: makes a sandbox's cgroup, root, bundle and container,
// and takes them away again. All calls block: make them from the blocking pool. Safe to call from
// several threads for different sandboxes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "oci/disk_guard.h"
#include "oci/layer.h"
#include "oci/runtime.h"
#include "oci/trash.h"
#include "sys/cgroup.h"
#include "sys/fd.h"

namespace atl::oci {

struct LauncherConfig {
  std::string state_dir;
  std::string run_dir;
  std::string images_dir;     // empty: <state_dir>/images
  std::string opencode_dir;   // empty: <state_dir>/opencode
  std::string snapshots_dir;  // empty: <state_dir>/snapshots
  std::string cgroup_root = "atoll";
  std::string agent_binary;
  std::string opencode_binary;  // empty: none
  std::string seccomp_profile;  // empty: Debian's (kSeccompProfile)
  std::string criu;             // empty: looked for (FindCriu)
  uint64_t open_files = 65536;  // of a process, unless it raises that itself
  // What disk images leave free of the host's disk (DiskGuard).
  std::optional<uint64_t> disk_reserve = std::nullopt;
  // What a call of crun, and of CRIU, may take; then it is killed, and what it was about undone.
  std::chrono::milliseconds runtime_deadline{30'000};
  std::chrono::milliseconds checkpoint_deadline{60'000};
};

// The groups of the daemon that uses this run_dir, or of the last one that did.
Result<sys::CgroupTree> InspectCgroups(const LauncherConfig& config);

struct LaunchSpec {
  std::string iid;
  std::string hostname;
  std::string image;  // by name
  uint32_t id_base = 0;
  sys::CgroupLimits limits;
  uint64_t disk_bytes = 0;  // of its layer; 0: no limit, here and below
  uint64_t inodes = 0;
  std::vector<std::string> env;  // for PID 1
  std::vector<std::string> agent_args;
  int agent_socket = -1;  // a listening unix socket; becomes fd 3 of PID 1. Borrowed.
  // A directory that Checkpoint made: the sandbox goes on from there. Its layer is made new, the
  // host name and environment are those of then.
  std::string checkpoint;
};

class BucketClients;

struct Launched {
  pid_t pid = 0;          // PID 1, in the host's numbers
  sys::Fd pidfd;          // readable when PID 1 has ended
  sys::Fd net_namespace;  // of the sandbox
  // {"cgroup", 0.4}, {"layer", ..}, {"idmap", ..}, {"overlay", ..}, {"bundle", ..}, {"crun", ..},
  // {"limits", ..},
  // {"detach", ..}
  std::vector<std::pair<std::string, double>> phases;
};

// PID 1's descriptors: 3 is the agent's socket, 4 and up are the cgroup.procs files of the `agent`
// leaf, as many as agent_procs_count() says, then as many of the `work` leaf; PID 1 starts in the
// `work` leaf.
class Launcher {
 public:
  // Makes the directories and compiles the system call filter. EnterPrivateMountNamespace must
  // have been called.
  static Result<std::unique_ptr<Launcher>> Open(LauncherConfig config);

  Result<Launched> Launch(const LaunchSpec& spec);
  // A running container that a former daemon launched; kNotFound when it is gone or has ended.
  Result<Launched> Adopt(const std::string& iid);
  // Whether Checkpoint and LaunchSpec::checkpoint work here; why not otherwise. The first call
  // takes a moment.
  Result<void> CanCheckpoint() const;
  // What runs in a sandbox, and its files, into `dir`, which is made. Its agent is parked
  // (protocol::Park) and nobody is connected to anything inside. It has ended afterwards, whatever
  // comes out.
  Result<void> Checkpoint(const std::string& iid, uint32_t id_base, const std::string& dir);
  // The same for its own next start: into state_dir/memory/<iid>, without its files, which stay
  // where they are. Clients of its agent are cut off.
  struct KeepSpec {
    std::string iid;
    uint32_t id_base = 0;
    std::string key;            // what the checkpoint depends on
    uint64_t memory_bytes = 0;  // its limit; 0: none
  };
  Result<void> KeepMemory(const KeepSpec& spec);
  // What runs in a sandbox, for copies of it. It goes on, and so do its connections; it stands
  // still for what is returned, in milliseconds, and while `while_still` copies its files. Kept for
  // the copy `to`, whoever else shares it: DropMemory(to).
  struct CopySpec {
    std::string iid;
    uint32_t id_base = 0;
    std::string to;
    uint64_t memory_bytes = 0;  // its limit; 0: none
    std::function<Result<void>()> while_still;
    std::stop_token stop;  // it need not go on any more
  };
  Result<double> CopyMemory(const CopySpec& spec);
  // images/ of that, which may be changed as long as nothing was launched from it.
  std::string CopiedImages(const std::string& to) const;
  // A copy that is launched: its LaunchSpec::checkpoint, for which DropMemory(copy.iid) follows.
  struct MemoryShare {
    std::string iid;
    uint32_t id_base = 0;
  };
  // Of what CopyMemory kept for `to`, for `copies`, in their order. It is used up.
  Result<std::vector<std::string>> ShareMemory(const std::string& to,
                                               const std::vector<MemoryShare>& copies);
  // PID 1 of a running sandbox is in its own leaf again, from which a checkpoint that was cut short
  // may have taken it.
  Result<void> SettleAgent(const std::string& iid, pid_t pid);
  // What KeepMemory has kept, for one start with `LaunchSpec::checkpoint`: a second start would
  // find other files. Empty when there is nothing, or it was kept with another key. DropMemory
  // follows.
  Result<std::string> TakeMemory(const std::string& iid, const std::string& key);
  bool HasMemory(const std::string& iid) const;
  // Also what an interrupted KeepMemory or start has left.
  Result<void> DropMemory(const std::string& iid);
  std::string MemoryDir(const std::string& iid) const;
  // Ends the container and removes everything of it but its layer. Idempotent.
  Result<void> Stop(const std::string& iid);
  // Stop, and the layer too (state_dir/sandboxes/<iid>): it is gone at once, its space soon after.
  Result<void> Destroy(const std::string& iid);
  // A layer that no sandbox is known to have is somebody's work all the same: it is moved to
  // state_dir/lost/<iid>-<time>. Its new path; empty when there is none.
  Result<std::string> SetAside(const std::string& iid);

  sys::Cgroup CgroupOf(const std::string& iid) const { return cgroups_.Find(iid); }
  const sys::CgroupTree& cgroups() const { return cgroups_; }
  size_t agent_procs_count() const;
  Runtime& runtime() { return *runtime_; }
  Trash& trash() { return *trash_; }

  // state_dir/sandboxes/<iid>. What is in it is a matter of `layers()`.
  std::string LayerDir(const std::string& iid) const { return layers_.Dir(iid); }
  const Layers& layers() const { return layers_; }
  DiskGuard& disk_guard() { return *disk_guard_; }
  BucketClients buckets() const;  // bucket_client.h
  // state_dir/buckets/<iid>: which buckets a sandbox has, and their credentials. Gone with it.
  std::string BucketsFile(const std::string& iid) const;
  std::string RunDir(const std::string& iid) const;  // run_dir/sandboxes/<iid>

 private:
  Launcher() = default;
  Result<Launched> LaunchSteps(const LaunchSpec& spec);
  // Descriptors for PID 1.
  struct Leaves {
    std::vector<int> procs;  // of the `agent` leaf, then of `work`
    int log = -1;
  };
  Result<void> WriteContainer(const LaunchSpec& spec, const sys::Cgroup& cgroup,
                              int user_namespace);
  Result<pid_t> RunContainer(const LaunchSpec& spec, const Leaves& leaves);
  // launcher_checkpoint.cc
  struct CheckpointOf {
    std::string iid;
    uint32_t id_base = 0;
    std::string dir;
    bool for_copies = true;
    uint64_t most_bytes = 0;  // as in DumpSpec
    uint64_t least_free = 0;
    std::function<Result<void>()> while_still = {};  // given: they go on (DumpSpec)
    std::function<void()> begins = {};
    std::stop_token stop = {};
  };
  Result<void> DumpProcesses(const CheckpointOf& of);
  // PID 1 and its children of the `agent` leaf, into `work` and back.
  Result<std::vector<int>> GatherAgents(const std::string& iid);
  void DisperseAgents(const std::string& iid, const std::vector<int>& agents);
  Result<void> FillLayer(const LaunchSpec& spec, const std::string& layer);
  Result<pid_t> Revive(const LaunchSpec& spec, const Leaves& leaves);

  LauncherConfig config_;
  sys::CgroupTree cgroups_;
  std::unique_ptr<DiskGuard> disk_guard_;
  Layers layers_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Trash> trash_;
  std::string seccomp_base64_;
};

}  // namespace atl::oci
