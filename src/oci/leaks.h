// SPDX-License-Identifier: Apache-2.0
// What belongs to no sandbox: for `atoll doctor --leaks` and for the sweep at start.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "oci/launcher.h"

namespace atl::oci {

struct Leak {
  // process, mount, cgroup, directory, container, temporary, loop, trash, lost
  std::string kind;
  std::string what;   // a pid, a path, a name
  std::string owner;  // the iid it was made for, when that can be told
};

// `live`: the iids of every sandbox that the database knows, whatever its state; `running`: those
// that may have a container now. A stopped sandbox keeps its layer and nothing else. Works beside
// a running daemon: it looks at the daemon's mounts too, when run_dir/lock names its pid. That file
// itself is none: its lock ended with the daemon that held it. Temporaries (of images, uploads of
// snapshots, fetches of OpenCode) are leaks when no living process holds them.
Result<std::vector<Leak>> FindLeaks(const LauncherConfig& config, const std::set<std::string>& live,
                                    const std::set<std::string>& running);

// Ends calls of crun that a daemon which is no more has left running: they go on making what the
// next one takes apart. For a starting daemon, before its own first call.
Result<void> EndRuntimeCalls(const LauncherConfig& config);

// Ends and removes all that FindLeaks would name, but files: layers that nobody knows are set
// aside, for a database that was restored from a backup must not cost any. For a starting daemon,
// which holds the lock.
Result<void> RemoveLeaks(Launcher& launcher, const LauncherConfig& config,
                         const std::set<std::string>& live, const std::set<std::string>& running);

}  // namespace atl::oci
