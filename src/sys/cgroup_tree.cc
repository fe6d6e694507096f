// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>

#include "sys/cgroup.h"
#include "sys/mounts.h"

namespace atl::sys {
namespace {

constexpr std::array<std::string_view, 4> kControllers = {"memory", "pids", "cpu", "freezer"};

// What a refusal means in a container, or in a unit without delegation.
Unexpected Refused(int error, std::string_view what, const std::string& path) {
  std::string_view advice;
  if (error == EROFS || error == EACCES || error == EPERM) {
    advice =
        " (Atoll needs cgroups that it may write: Delegate=yes in a systemd unit, a writable "
        "/sys/fs/cgroup in a container)";
  }
  return FailErrno(error, fmt::format("{} {}{}", what, path, advice));
}

// Those of kControllers that a group of cgroup2 has.
std::vector<std::string> Available(const std::string& group) {
  auto text = ReadFile(group + "/cgroup.controllers", 4096);
  std::string words = text ? fmt::format(" {} ", *text) : std::string();
  std::replace(words.begin(), words.end(), '\n', ' ');
  std::vector<std::string> found;
  for (std::string_view controller : {"memory", "pids", "cpu", "io"}) {
    if (words.contains(fmt::format(" {} ", controller))) found.emplace_back(controller);
  }
  return found;
}

Result<void> MakeGroup(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) {
    return Refused(errno, "making the cgroup", path);
  }
  return {};
}

// "0::/system.slice/atoll.service" -> "/system.slice/atoll.service"
Result<std::string> GroupOf(const std::string& proc, const std::string& pid) {
  ASSIGN(std::string text, ReadFile(fmt::format("{}/{}/cgroup", proc, pid), 65536));
  size_t at = text.starts_with("0::") ? 0 : text.find("\n0::");
  if (at == std::string::npos) return Fail(Code::kInternal, "this process is in no cgroup2 group");
  at = text.find('/', at);
  return text.substr(at, text.find('\n', at) - at);
}

// systemd marks what it hands over (Delegate=yes) with an extended attribute.
bool IsDelegated(const std::string& path) {
  char value = 0;
  return (::getxattr(path.c_str(), "trusted.delegate", &value, 1) == 1 ||
          ::getxattr(path.c_str(), "user.delegate", &value, 1) == 1) &&
         value == '1';
}

constexpr std::string_view kAside = "/daemon";
constexpr int kRoundsAside = 5;
constexpr std::string_view kService = ".service";

// The unit beside a daemon's own that holds its sandboxes: what systemd starts it attaches to the
// unit's group itself, which the kernel refuses while that hands controllers down to sandboxes.
std::string GroupOfSandboxes(const std::string& mount_point, std::string own) {
  if (!own.ends_with(kService)) return {};
  own.insert(own.size() - kService.size(), "-sandboxes");
  return IsDelegated(mount_point + own) ? own : std::string();
}

// The group that this daemon was handed, or the top of the tree when it was handed none.
std::string DelegatedGroup(const std::string& mount_point, std::string own) {
  if (std::string beside = GroupOfSandboxes(mount_point, own); !beside.empty()) return beside;
  for (int step = 0; step < 2; ++step) {
    if (own.empty() || own == "/") return {};
    if (IsDelegated(mount_point + own)) return own;
    // It may have stepped aside already.
    if (!own.ends_with(kAside)) return {};
    own.resize(own.size() - kAside.size());
  }
  return {};
}

// A group that hands controllers down may hold no process of its own: those in it step aside.
Result<void> StepAside(const std::string& group) {
  std::string aside = fmt::format("{}{}", group, kAside);
  TRY(MakeGroup(aside));
  ASSIGN(std::string pids, ReadFile(group + "/cgroup.procs"));
  for (size_t at = 0; at < pids.size();) {
    size_t end = std::min(pids.find('\n', at), pids.size());
    auto moved = WriteFile(aside + "/cgroup.procs", pids.substr(at, end - at));
    if (!moved && moved.error().sys_errno != ESRCH) return moved;
    at = end + 1;
  }
  return {};
}

Result<void> HandDown(const std::string& group, bool may_step_aside = false) {
  std::vector<std::string> available = Available(group);
  for (std::string_view controller : {"memory", "pids", "cpu"}) {
    if (std::ranges::find(available, controller) == available.end()) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("the cgroup {} has no {} controller", group, controller));
    }
  }
  std::string enable = fmt::format("+{}", fmt::join(available, " +"));
  std::string control = group + "/cgroup.subtree_control";
  auto enabled = WriteFile(control, enable);
  // Some of those in it may have children meanwhile.
  for (int round = 0; round < kRoundsAside && may_step_aside; ++round) {
    if (enabled || enabled.error().sys_errno != EBUSY) break;
    TRY(StepAside(group));
    enabled = WriteFile(control, enable);
  }
  if (enabled) return {};
  return Refused(enabled.error().sys_errno, "handing controllers down in", group);
}

// The subdirectories of a group.
void ListGroups(const std::string& path, std::set<std::string>& names) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.insert(entry->d_name);
  }
  ::closedir(directory);
}

}  // namespace

Result<CgroupTree> CgroupTree::Look(const std::string& root, const std::string& pid,
                                    const CgroupHost& host, const std::string& top) {
  CgroupTree tree;
  tree.root_path_ = "/" + root;
  ASSIGN(auto mounts, ListMounts("self", host.proc));
  bool unified = false;
  for (const MountEntry& entry : mounts) {
    if (entry.fs_type != "cgroup2") continue;
    if (entry.target == host.mount_point) tree.mode_ = CgroupMode::kV2;
    unified = true;
  }
  if (tree.mode_ == CgroupMode::kV2) {
    ASSIGN(std::string own, GroupOf(host.proc, pid));
    tree.top_ = top.empty() ? DelegatedGroup(host.mount_point, std::move(own)) : top;
    if (tree.top_ == "/") tree.top_.clear();
    tree.top_path_ = host.mount_point + tree.top_;
    tree.root_path_ = tree.top_ + tree.root_path_;
    // Every group but the very first can be frozen, since Linux 5.2.
    tree.controllers_ = Available(tree.top_path_);
    tree.controllers_.emplace_back("freezer");
    tree.places_.push_back({.controllers = {}, .path = host.mount_point + tree.root_path_});
    return tree;
  }
  if (unified) tree.mode_ = CgroupMode::kHybrid;
  std::set<std::string> seen;
  for (const MountEntry& entry : mounts) {
    if (entry.fs_type != "cgroup" || !entry.target.starts_with(host.mount_point + "/")) {
      continue;
    }
    bool used = false;
    std::string list = fmt::format(",{},", entry.super_options);
    for (std::string_view controller : kControllers) {
      if (!list.contains(fmt::format(",{},", controller))) continue;
      used |= seen.insert(std::string(controller)).second;
    }
    if (!used) continue;
    tree.places_.push_back(
        {.controllers = entry.super_options, .path = entry.target + tree.root_path_});
  }
  tree.controllers_.assign(seen.begin(), seen.end());
  if (tree.places_.empty()) return Fail(Code::kFailedPrecondition, "no cgroups on this host");
  return tree;
}

Result<CgroupTree> CgroupTree::Inspect(const std::string& root, const std::string& top,
                                       const CgroupHost& host) {
  return Look(root, "self", host, top);
}

Result<CgroupTree> CgroupTree::Open(const std::string& root, const CgroupHost& host) {
  ASSIGN(CgroupTree tree, Look(root, "self", host, {}));
  TRY(tree.MakeRoot());
  return tree;
}

Result<void> CgroupTree::MakeRoot() const {
  if (mode_ == CgroupMode::kV2) TRY(HandDown(top_path_, true));
  for (const Cgroup::Place& place : places_) {
    TRY(MakeGroup(place.path));
    if (mode_ == CgroupMode::kV2) TRY(HandDown(place.path));
  }
  return {};
}

Cgroup CgroupTree::Find(const std::string& name) const {
  Cgroup group;
  group.mode_ = mode_;
  group.name_ = name;
  group.work_path_ = fmt::format("{}/{}/work", root_path_, name);
  for (const Cgroup::Place& place : places_) {
    group.places_.push_back(
        {.controllers = place.controllers, .path = fmt::format("{}/{}", place.path, name)});
  }
  return group;
}

Result<Cgroup> CgroupTree::Create(const std::string& name) const {
  Cgroup group = Find(name);
  // systemd has made the unit of the sandboxes anew, which ends those that were in it.
  if (mode_ == CgroupMode::kV2 && ::access(places_.front().path.c_str(), F_OK) != 0) {
    TRY(MakeRoot());
  }
  for (const Cgroup::Place& place : group.places_) {
    TRY(MakeGroup(place.path));
    if (mode_ == CgroupMode::kV2) TRY(HandDown(place.path));
    TRY(MakeGroup(place.path + "/agent"));
    TRY(MakeGroup(place.path + "/work"));
  }
  return group;
}

Result<std::vector<std::string>> CgroupTree::List() const {
  std::set<std::string> names;
  for (const Cgroup::Place& place : places_) ListGroups(place.path, names);
  return std::vector<std::string>(names.begin(), names.end());
}

Result<void> CgroupTree::CheckWritable() const {
  for (const Cgroup::Place& place : places_) {
    if (::access(place.path.c_str(), W_OK) != 0) {
      return Refused(errno, "make cgroups below", place.path);
    }
  }
  return {};
}

Result<void> CgroupTree::RemoveRoot() const {
  for (const Cgroup::Place& place : places_) {
    if (::rmdir(place.path.c_str()) < 0 && errno != ENOENT) {
      return FailErrno(errno, fmt::format("removing the cgroup {}", place.path));
    }
  }
  return {};
}

}  // namespace atl::sys
