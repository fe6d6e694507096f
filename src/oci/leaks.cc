// SPDX-License-Identifier: Apache-2.0
#include "oci/leaks.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <thread>

#include "base/log.h"
#include "oci/image.h"
#include "oci/leftovers.h"
#include "oci/trash.h"
#include "sys/loop.h"
#include "sys/mounts.h"

namespace atl::oci {

// Who holds run_dir/lock writes its pid there.
int DaemonPid(const std::string& run_dir) {
  auto text = sys::ReadFile(run_dir + "/lock", 64);
  if (!text) return 0;
  int pid = 0;
  std::from_chars(text->data(), text->data() + text->size(), pid);
  return pid > 1 && sys::ReadFile(fmt::format("/proc/{}/stat", pid)) ? pid : 0;
}

namespace {

constexpr std::chrono::seconds kLoopLimit{2};
constexpr std::chrono::seconds kTrashLimit{600};

// Without hidden ones.
std::vector<std::string> Names(const std::string& path) {
  std::vector<std::string> names = NamesIn(path);
  std::erase_if(names, [](const std::string& name) { return name.starts_with('.'); });
  return names;
}

// "<dir>/<name>/..." -> name; empty for what is not below.
std::string OwnerOf(std::string_view path, std::string_view dir) {
  if (!path.starts_with(dir) || path.size() <= dir.size() || path[dir.size()] != '/') return {};
  path.remove_prefix(dir.size() + 1);
  return std::string(path.substr(0, path.find('/')));
}

// The sandbox whose image a loop device shows; empty when it is none of this state directory. The
// kernel names the file as it is seen from the mount that it was opened through, which may have
// ended: then the name begins at the root of its file system.
std::string ImageOwner(const sys::LoopInUse& loop, const std::string& state_dir) {
  constexpr std::string_view kAbove = "/sandboxes/";
  constexpr std::string_view kImage = "/disk.img";
  std::string_view file = loop.file;
  if (!file.ends_with(kImage)) return {};
  file.remove_suffix(kImage.size());
  size_t at = file.rfind(kAbove);
  struct stat info{};
  if (at == std::string_view::npos || !state_dir.ends_with(file.substr(0, at)) ||
      ::stat(state_dir.c_str(), &info) < 0 || info.st_dev != loop.device) {
    return {};
  }
  return std::string(file.substr(at + kAbove.size()));
}

// A name that leads nowhere else when it becomes part of a path.
bool IsOneName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && !name.contains('/') &&
         !name.contains('\0');
}

// Calls of crun with this daemon's root: pid and sandbox.
std::vector<std::pair<pid_t, std::string>> RuntimeCalls(const LauncherConfig& config) {
  std::vector<std::pair<pid_t, std::string>> calls;
  std::string root = fmt::format("--root{}{}/crun{}", '\0', config.run_dir, '\0');
  for (const std::string& name : Names("/proc")) {
    if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) continue;
    auto line = sys::ReadFile(fmt::format("/proc/{}/cmdline", name), 65536);
    if (!line || !line->contains(root)) continue;
    // crun runs as the host's root. A program of a sandbox, which may call itself anything, never
    // does.
    auto status = sys::ReadFile(fmt::format("/proc/{}/status", name), 65536);
    if (!status || !status->contains("\nUid:\t0\t")) continue;
    while (!line->empty() && line->back() == '\0') line->pop_back();
    std::string iid = line->substr(line->rfind('\0') + 1);
    if (IsOneName(iid)) calls.emplace_back(std::atoi(name.c_str()), std::move(iid));
  }
  return calls;
}

// A CRIU that an earlier daemon has let write what runs somewhere. It lets that go on and ends by
// itself; ended in between, it would leave programs that cannot go on.
bool HasDump(const LauncherConfig& config) {
  std::string dump = fmt::format("{}dump{}", '\0', '\0');
  std::string into = fmt::format("-D{}{}/memory/", '\0', config.state_dir);
  return std::ranges::any_of(Names("/proc"), [&](const std::string& name) {
    if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) return false;
    auto line = sys::ReadFile(fmt::format("/proc/{}/cmdline", name), 65536);
    if (!line || !line->contains(dump) || !line->contains(into)) return false;
    auto status = sys::ReadFile(fmt::format("/proc/{}/status", name), 65536);
    return status && status->contains("\nUid:\t0\t");
  });
}

class Search {
 public:
  Search(const LauncherConfig& config, const std::set<std::string>& live,
         const std::set<std::string>& running, const std::set<std::string>& awake,
         const std::set<uint32_t>* ranges)
      : config_(config),
        live_(live),
        running_(running),
        awake_(awake),
        ranges_(ranges),
        daemon_(DaemonPid(config.run_dir)) {}

  Result<std::vector<Leak>> Run() {
    TRY(Cgroups());
    for (const std::string& iid : Names(config_.run_dir + "/crun")) {
      if (!running_.contains(iid)) Add("container", config_.run_dir + "/crun/" + iid, iid);
    }
    Programs();
    TRY(Mounts("self"));
    if (daemon_ != 0) TRY(Mounts(fmt::format("{}", daemon_)));
    Loops();
    for (const std::string& iid : Names(config_.run_dir + "/sandboxes")) {
      if (!running_.contains(iid)) Add("directory", config_.run_dir + "/sandboxes/" + iid, iid);
    }
    for (const std::string& iid : Names(config_.state_dir + "/sandboxes")) {
      if (!live_.contains(iid)) Add("directory", config_.state_dir + "/sandboxes/" + iid, iid);
    }
    for (const std::string& name : Names(config_.state_dir + "/memory")) {
      std::string iid = name.substr(0, name.find('.'));
      if (!live_.contains(iid)) Add("memory", config_.state_dir + "/memory/" + name, iid);
    }
    for (const std::string& name : Names(config_.state_dir + "/buckets")) {
      if (name == "spool" || live_.contains(name)) continue;
      Add("directory", config_.state_dir + "/buckets/" + name, name);
    }
    for (const std::string& name : Names(config_.state_dir + "/buckets/spool")) {
      std::string iid = name.substr(0, name.find('-'));
      if (running_.contains(iid)) continue;
      Add("temporary", config_.state_dir + "/buckets/spool/" + name, {});
    }
    ASSIGN(auto stale, ImageStore(ImagesDir(config_)).Stale());
    for (const std::string& path : stale) Add("temporary", path, {});
    for (const std::string& path : StaleUploads(config_, daemon_)) Add("temporary", path, {});
    Trash();
    for (const std::string& name : Names(config_.state_dir + "/lost")) {
      Add("lost", fmt::format("{}/lost/{}", config_.state_dir, name), {});
    }
    for (const std::string& path : FindStaleFetches(config_).paths) Add("temporary", path, {});
    for (const std::string& path : FindStaleCriuBuilds(config_).paths) Add("temporary", path, {});
    for (const std::string& path : FindStaleTemplates(config_).paths) Add("temporary", path, {});
    for (const std::string& path : StaleViews(config_, running_)) Add("temporary", path, {});
    Ids();
    return std::move(leaks_);
  }

  static std::string ImagesDir(const LauncherConfig& config) {
    return config.images_dir.empty() ? config.state_dir + "/images" : config.images_dir;
  }

 private:
  void Add(std::string kind, std::string what, std::string owner) {
    leaks_.push_back({.kind = std::move(kind), .what = std::move(what), .owner = std::move(owner)});
  }

  Result<void> Cgroups() {
    ASSIGN(auto tree, InspectCgroups(config_));
    ASSIGN(auto names, tree.List());
    for (const std::string& iid : names) {
      sys::Cgroup group = tree.Find(iid);
      if (awake_.contains(iid) && group.IsFrozen()) Add("frozen", Top(group), iid);
      if (running_.contains(iid)) continue;
      ASSIGN(auto pids, group.Processes());
      for (int pid : pids) Add("process", fmt::format("{}", pid), iid);
      Add("cgroup", Top(group), iid);
    }
    return {};
  }

  // What is a leak already, or in one, is not told twice.
  void Ids() {
    if (ranges_ == nullptr) return;
    std::vector<std::string> told;
    for (const Leak& leak : leaks_) told.push_back(leak.what);
    for (const std::string& path : FilesOfNoRange(config_, *ranges_)) {
      bool known = std::ranges::any_of(told, [&](const std::string& what) {
        return path == what || path.starts_with(what + "/");
      });
      if (!known) Add("ids", path, {});
    }
  }

  static std::string Top(const sys::Cgroup& group) {
    const std::string& path = group.work_path();
    return path.substr(0, path.rfind('/'));
  }

  // Calls of crun for a sandbox that is not there: they are in no group yet, or hang.
  void Programs() {
    for (const auto& [pid, iid] : RuntimeCalls(config_)) {
      if (!running_.contains(iid)) Add("process", fmt::format("{}", pid), iid);
    }
  }

  // A daemon empties it by and by; what stays for long it cannot remove.
  void Trash() {
    for (const std::string& name : Names(config_.state_dir + "/trash")) {
      std::string path = fmt::format("{}/trash/{}", config_.state_dir, name);
      struct stat info{};
      if (::lstat(path.c_str(), &info) != 0) continue;
      bool awaited = daemon_ != 0 && ::time(nullptr) - info.st_ctime < kTrashLimit.count();
      if (!awaited) Add("trash", path, {});
    }
  }

  Result<void> Mounts(const std::string& pid) {
    auto mounts = sys::ListMounts(pid);
    if (!mounts) return {};  // the daemon ended just now, and its mounts with it
    for (const sys::MountEntry& mount : *mounts) {
      std::string iid = OwnerOf(mount.target, config_.run_dir + "/sandboxes");
      if (iid.empty()) iid = OwnerOf(mount.target, config_.state_dir + "/sandboxes");
      bool removed = !OwnerOf(mount.target, config_.state_dir + "/trash").empty() ||
                     !OwnerOf(mount.target, config_.state_dir + "/lost").empty();
      // One that is held in a place by a mount lives on without processes.
      bool pinned = mount.fs_type == "nsfs" && !OwnerOf(mount.target, config_.run_dir).empty();
      bool owned = !iid.empty() && running_.contains(iid);
      if (owned || (iid.empty() && !removed && !pinned)) continue;
      Leak leak{.kind = pinned ? "namespace" : "mount", .what = mount.target, .owner = iid};
      // It is seen here and by the daemon.
      if (std::ranges::find(leaks_, leak) == leaks_.end()) leaks_.push_back(std::move(leak));
    }
    return {};
  }

  // Devices of images whose sandbox does not run. One ends a moment after its sandbox, when the
  // kernel has taken apart what was mounted inside.
  void Loops() {
    auto deadline = std::chrono::steady_clock::now() + kLoopLimit;
    while (true) {
      std::vector<Leak> found;
      for (const sys::LoopInUse& loop : sys::ListLoops()) {
        std::string iid = ImageOwner(loop, config_.state_dir);
        if (iid.empty() || running_.contains(iid)) continue;
        found.push_back({.kind = "loop", .what = loop.path, .owner = iid});
      }
      if (found.empty() || std::chrono::steady_clock::now() > deadline) {
        std::ranges::move(found, std::back_inserter(leaks_));
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  const LauncherConfig& config_;
  const std::set<std::string>& live_;
  const std::set<std::string>& running_;
  const std::set<std::string>& awake_;
  const std::set<uint32_t>* ranges_;
  int daemon_;
  std::vector<Leak> leaks_;
};

}  // namespace

Result<std::vector<Leak>> FindLeaks(const LauncherConfig& config, const std::set<std::string>& live,
                                    const std::set<std::string>& running,
                                    const std::set<std::string>& awake,
                                    const std::set<uint32_t>* ranges) {
  return Search(config, live, running, awake, ranges).Run();
}

bool IsRuntimeCall(const LauncherConfig& config, int pid, const std::string& iid) {
  auto calls = RuntimeCalls(config);
  return std::ranges::find(calls, std::pair<pid_t, std::string>(pid, iid)) != calls.end();
}

Result<void> EndRuntimeCalls(const LauncherConfig& config) {
  constexpr std::chrono::milliseconds kLimit{10'000};
  auto deadline = std::chrono::steady_clock::now() + kLimit;
  while (HasDump(config) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  while (true) {
    auto calls = RuntimeCalls(config);
    if (calls.empty()) return {};
    for (const auto& [pid, iid] : calls) ::kill(pid, SIGKILL);
    if (std::chrono::steady_clock::now() > deadline) {
      return Fail(Code::kTimeout, fmt::format("{} calls of crun do not end", calls.size()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

namespace {

// What could not be done, of many things that are all tried.
class Failures {
 public:
  void Note(Result<void> result) {
    if (result) return;
    if (++count_ == 1) {
      first_ = std::move(result).error();
    } else if (count_ <= kTold) {
      first_.message += "; " + result.error().message;
    }
  }
  Result<void> Sum() && {
    if (count_ == 0) return {};
    if (count_ > kTold) first_.message += fmt::format("; and {} more", count_ - kTold);
    return Unexpected(std::move(first_));
  }

 private:
  static constexpr size_t kTold = 20;
  size_t count_ = 0;
  Error first_;
};

// Everything of `iid` that runs or is mounted, then its files are set aside unless it `stays`.
Result<void> RemoveOwner(Launcher& launcher, const std::string& iid, bool stays) {
  auto gone = launcher.Stop(iid);
  if (gone && stays) return {};
  if (!gone) {
    if (gone.error().code != Code::kInvalidArgument) return gone;
    // A name that Atoll never gives: not a sandbox, but in a place where only sandboxes are.
    TRY(launcher.CgroupOf(iid).Remove());
    TRY(sys::Unmount(launcher.RunDir(iid) + "/rootfs", MNT_DETACH | UMOUNT_NOFOLLOW));
    TRY(sys::RemoveTree(launcher.RunDir(iid)));
  }
  ASSIGN(std::string aside, launcher.SetAside(iid));
  if (aside.empty()) return {};
  log::Warning("the database knows no sandbox {}: its files are set aside in {}", iid, aside);
  return {};
}

}  // namespace

Result<void> RemoveLeaks(Launcher& launcher, const LauncherConfig& config,
                         const std::set<std::string>& live, const std::set<std::string>& running) {
  ASSIGN(auto leaks, FindLeaks(config, live, running));
  Failures failures;
  std::set<std::string> owners;
  for (const Leak& leak : leaks) {
    if (IsOneName(leak.owner)) owners.insert(leak.owner);
  }
  for (const Leak& leak : leaks) {
    bool mounted = leak.kind == "mount" || leak.kind == "namespace";
    if (mounted) failures.Note(sys::Unmount(leak.what, MNT_DETACH | UMOUNT_NOFOLLOW));
  }
  for (const std::string& iid : owners) {
    Result<void> removed = RemoveOwner(launcher, iid, live.contains(iid));
    if (!removed) removed.error().message = fmt::format("{}: {}", iid, removed.error().message);
    failures.Note(std::move(removed));
  }
  for (const std::string& path : StaleUploads(config, DaemonPid(config.run_dir))) {
    failures.Note(sys::RemoveTree(path));
  }
  for (const auto& find : {FindStaleFetches, FindStaleCriuBuilds, FindStaleTemplates}) {
    StalePaths stale = find(config);
    for (const std::string& path : stale.paths) failures.Note(sys::RemoveTree(path));
  }
  for (const std::string& path : StaleViews(config, running)) {
    failures.Note(sys::RemoveTree(path));
  }
  failures.Note(ImageStore(Search::ImagesDir(config)).RemoveStale());
  return std::move(failures).Sum();
}

}  // namespace atl::oci
