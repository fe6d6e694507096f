// SPDX-License-Identifier: Apache-2.0
// What belongs to no sandbox: for `atoll doctor --leaks` and for the sweep at start.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "oci/launcher.h"

namespace atl::oci {

struct Leak {
  // process, mount, namespace, cgroup, frozen, directory, container, memory, temporary, loop,
  // trash, lost; ids: files that have user ids of no sandbox; lock: of the snapshots' repository,
  // which others look for
  std::string kind;
  std::string what;   // a pid, a path, a name
  std::string owner;  // the iid it was made for, when that can be told
  bool operator==(const Leak&) const = default;
};

// The daemon that holds run_dir/lock; 0 when there is none.
int DaemonPid(const std::string& run_dir);

// `live`: the iids of every sandbox that the database knows, whatever its state; `running`: those
// that may have a container now. A stopped sandbox keeps its layer and nothing else. Works beside
// a running daemon: it looks at the daemon's mounts too, when run_dir/lock names its pid. That file
// itself is none: its lock ended with the daemon that held it. Temporaries (of images, uploads of
// snapshots, fetches of OpenCode, templates) are leaks when no living process holds them.
// `awake`: those whose programs are to run; one of them that stands still was left so. `ranges`:
// the first user ids of every sandbox; without it nobody looks whose files are.
Result<std::vector<Leak>> FindLeaks(const LauncherConfig& config, const std::set<std::string>& live,
                                    const std::set<std::string>& running,
                                    const std::set<std::string>& awake = {},
                                    const std::set<uint32_t>* ranges = nullptr);

// A leak that could not be removed, and why.
struct LeftLeak {
  Leak leak;
  std::string why;
};

// Ends and removes what FindLeaks named, for an administrator: files too. Beside a running daemon
// it enters that one's mount namespace, else it makes one of its own, so the process must have a
// single thread, and does not come back from there. Processes are looked at again before they are
// ended.
Result<std::vector<LeftLeak>> RemoveFound(const LauncherConfig& config,
                                          const std::vector<Leak>& leaks);
// Whether the process is still the one that the leak named: a call of crun for its owner.
bool IsRuntimeCall(const LauncherConfig& config, int pid, const std::string& iid);

// Ends calls of crun that a daemon which is no more has left running: they go on making what the
// next one takes apart. For a starting daemon, before its own first call.
Result<void> EndRuntimeCalls(const LauncherConfig& config);

// Ends and removes all that FindLeaks would name, but files: layers that nobody knows are set
// aside, for a database that was restored from a backup must not cost any. For a starting daemon,
// which holds the lock. What resists keeps nothing else from being removed; the error names it all.
Result<void> RemoveLeaks(Launcher& launcher, const LauncherConfig& config,
                         const std::set<std::string>& live, const std::set<std::string>& running);

}  // namespace atl::oci
