// SPDX-License-Identifier: Apache-2.0
#include "oci/leftovers.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "oci/trash.h"
#include "sys/idmap.h"

namespace atl::oci {
namespace {

constexpr std::string_view kPart = ".part";
constexpr std::string_view kView = "view-";

std::string OrBelow(const std::string& configured, const LauncherConfig& config,
                    std::string_view name) {
  return configured.empty() ? fmt::format("{}/{}", config.state_dir, name) : configured;
}

bool HasOpen(int pid, const std::string& path) {
  struct stat wanted{};
  if (pid == 0 || ::lstat(path.c_str(), &wanted) < 0) return false;
  std::string fds = fmt::format("/proc/{}/fd", pid);
  return std::ranges::any_of(NamesIn(fds), [&](const std::string& name) {
    struct stat info{};
    return ::stat(fmt::format("{}/{}", fds, name).c_str(), &info) == 0 &&
           info.st_dev == wanted.st_dev && info.st_ino == wanted.st_ino;
  });
}

// `<dir>/<prefix>...`, unless somebody holds `<dir>/.lock`.
StalePaths UnlessLocked(const std::string& dir, std::string_view prefix) {
  StalePaths stale;
  auto find = [&] {
    std::vector<std::string> paths;
    for (const std::string& name : NamesIn(dir)) {
      if (name.starts_with(prefix)) paths.push_back(fmt::format("{}/{}", dir, name));
    }
    return paths;
  };
  if (find().empty()) return stale;
  if (auto lock = sys::Open(dir + "/.lock", O_RDONLY)) {
    if (::flock(lock->get(), LOCK_EX | LOCK_NB) < 0) return stale;
    stale.lock = *std::move(lock);
  }
  // Looked for once more: it may have got its name, or gone, since.
  stale.paths = find();
  return stale;
}

std::string TemplatesOf(const std::string& state_dir) { return state_dir + "/templates"; }

class OwnerSearch {
 public:
  explicit OwnerSearch(const std::set<uint32_t>& ranges) : ranges_(ranges) {}

  // What is in `dir`, down to `depth` directories below it, but for `names`.
  void Look(const std::string& dir, int depth, const std::set<std::string>& but = {}) {
    for (const std::string& name : NamesIn(dir)) {
      if (but.contains(name)) continue;
      std::string path = fmt::format("{}/{}", dir, name);
      struct stat info{};
      if (::lstat(path.c_str(), &info) != 0) continue;
      if (IsOfNone(info.st_uid) || IsOfNone(info.st_gid)) {
        found_.push_back(std::move(path));
      } else if (S_ISDIR(info.st_mode) && depth > 0) {
        Look(path, depth - 1, but);
      }
    }
  }
  std::vector<std::string> Take() { return std::move(found_); }

 private:
  bool IsOfNone(uint32_t id) const {
    uint32_t range = RangeOf(id);
    return range != 0 && !ranges_.contains(range);
  }
  const std::set<uint32_t>& ranges_;
  std::vector<std::string> found_;
};

}  // namespace

uint32_t RangeOf(uint32_t id) {
  return id < sys::kFirstSandboxId ? 0 : id - (id - sys::kFirstSandboxId) % sys::kIdsOfSandbox;
}

std::set<uint32_t> RangesOfLayers(const std::string& dir) {
  std::set<uint32_t> ranges;
  for (const std::string& name : NamesIn(dir)) {
    struct stat info{};
    if (::lstat(fmt::format("{}/{}/upper", dir, name).c_str(), &info) != 0) continue;
    if (uint32_t range = RangeOf(info.st_uid); range != 0) ranges.insert(range);
  }
  return ranges;
}

std::vector<std::string> FilesOfNoRange(const LauncherConfig& config,
                                        const std::set<uint32_t>& ranges) {
  OwnerSearch search(ranges);
  search.Look(config.state_dir + "/sandboxes", 1, {"upper", "work", "disk.img"});
  search.Look(config.state_dir + "/memory", 2);
  // Layers of templates have the ids of the sandbox that they were made of, which is gone.
  search.Look(TemplatesOf(config.state_dir), 2, {"layer"});
  return search.Take();
}

std::vector<std::string> StaleUploads(const LauncherConfig& config, int daemon) {
  std::string dir = OrBelow(config.snapshots_dir, config, "snapshots") + "/tmp";
  std::vector<std::string> stale;
  for (const std::string& name : NamesIn(dir)) {
    if (name.starts_with('.')) continue;
    std::string path = fmt::format("{}/{}", dir, name);
    // Looked for once more: it may have got its name, or gone, since it was listed.
    if (!HasOpen(daemon, path) && ::access(path.c_str(), F_OK) == 0) stale.push_back(path);
  }
  return stale;
}

StalePaths FindStaleFetches(const LauncherConfig& config) {
  return UnlessLocked(OrBelow(config.opencode_dir, config, "opencode"), ".fetch-");
}

StalePaths FindStaleCriuBuilds(const LauncherConfig& config) {
  return UnlessLocked(config.state_dir + "/criu", ".build-");
}

Result<sys::Fd> LockTemplates(const std::string& state_dir) {
  std::string dir = TemplatesOf(state_dir);
  ASSIGN(sys::Fd lock, sys::Open(dir, O_RDONLY | O_DIRECTORY));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return FailErrno(errno, "lock " + dir);
  return Fail(Code::kUnavailable, "somebody else makes or removes a template in " + dir);
}

StalePaths FindStaleTemplates(const LauncherConfig& config) {
  StalePaths stale;
  auto lock = LockTemplates(config.state_dir);
  if (!lock) return stale;
  stale.lock = *std::move(lock);
  std::string dir = TemplatesOf(config.state_dir);
  for (const std::string& name : NamesIn(dir)) {
    if (name.ends_with(kPart)) stale.paths.push_back(fmt::format("{}/{}", dir, name));
  }
  return stale;
}

std::vector<std::string> StaleViews(const LauncherConfig& config,
                                    const std::set<std::string>& running) {
  std::vector<std::string> stale;
  std::string dir = TemplatesOf(config.state_dir);
  for (const std::string& key : NamesIn(dir)) {
    // Views of one that is not whole go with it.
    if (key.ends_with(kPart)) continue;
    for (const std::string& name : NamesIn(fmt::format("{}/{}", dir, key))) {
      if (!name.starts_with(kView) || running.contains(name.substr(kView.size()))) continue;
      stale.push_back(fmt::format("{}/{}/{}", dir, key, name));
    }
  }
  return stale;
}

}  // namespace atl::oci
