// SPDX-License-Identifier: Apache-2.0
// Files of the state directory that belong to nothing: what was on its way when its writer died,
// and what has the ids of no sandbox.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "oci/launcher.h"
#include "sys/fd.h"

namespace atl::oci {

// The first id of the range that a user or group id is of; 0 when no sandbox can have it.
uint32_t RangeOf(uint32_t id);

// The first ids of the ranges that layers below `dir` (`<dir>/<name>/upper`) have.
std::set<uint32_t> RangesOfLayers(const std::string& dir);

// What lies beside the layers and in the memory of sandboxes, or in templates, and has ids of a
// range that is not among `ranges`. The content of layers is not looked at: it is somebody's only
// copy.
std::vector<std::string> FilesOfNoRange(const LauncherConfig& config,
                                        const std::set<uint32_t>& ranges);

// Uploads of snapshots that the daemon does not write to: it has one open as long as it is one.
std::vector<std::string> StaleUploads(const LauncherConfig& config, int daemon);

// Paths that nobody works on as long as `lock` is held.
struct StalePaths {
  sys::Fd lock;
  std::vector<std::string> paths;
};

// Who fetches holds `.lock` beside what it makes.
StalePaths FindStaleFetches(const LauncherConfig& config);
// The same of a CRIU that is being built.
StalePaths FindStaleCriuBuilds(const LauncherConfig& config);

// Held by who makes a template, or removes what was left of one; kUnavailable when somebody does.
Result<sys::Fd> LockTemplates(const std::string& state_dir);
// Templates that are not whole. Nothing when somebody makes one.
StalePaths FindStaleTemplates(const LauncherConfig& config);
// The views of templates that starts left: `running` may be about to go on from theirs.
std::vector<std::string> StaleViews(const LauncherConfig& config,
                                    const std::set<std::string>& running);

}  // namespace atl::oci
