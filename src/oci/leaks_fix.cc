// SPDX-License-Identifier: Apache-2.0
// What `atoll doctor --leaks --fix` does.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ranges>

#include "oci/layer.h"
#include "oci/leaks.h"
#include "oci/leftovers.h"
#include "oci/runtime.h"
#include "sys/mounts.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

bool IsMount(const Leak& leak) { return leak.kind == "mount" || leak.kind == "namespace"; }

void UnmountAll(const std::vector<Leak>& leaks, std::vector<LeftLeak>& left) {
  // The newest first: one may lie on another.
  for (const Leak& leak : leaks | std::views::reverse) {
    if (!IsMount(leak)) continue;
    Result<void> done = sys::Unmount(leak.what, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (!done) left.push_back({.leak = leak, .why = done.error().message});
  }
}

Result<void> EnterMountNamespaceOf(int pid) {
  ASSIGN(sys::Fd mounts, sys::OpenNamespace(pid, "mnt"));
  if (::setns(mounts.get(), CLONE_NEWNS) == 0) return {};
  return FailErrno(errno, fmt::format("enter the mount namespace of the daemon (pid {})", pid));
}

// A group's processes go with the group.
Result<void> EndProcess(const LauncherConfig& config, const Leak& leak) {
  int pid = 0;
  std::from_chars(leak.what.data(), leak.what.data() + leak.what.size(), pid);
  auto process = sys::PidfdOpen(pid);
  if (!process) return {};
  if (!IsRuntimeCall(config, pid, leak.owner)) return {};
  if (::syscall(SYS_pidfd_send_signal, process->get(), SIGKILL, nullptr, 0) == 0) return {};
  if (errno == ESRCH) return {};
  return FailErrno(errno, fmt::format("end the process {}", pid));
}

// The device ends by itself once nothing is mounted from it; this helps one that was left attached.
Result<void> Detach(const std::string& device) {
  ASSIGN(sys::Fd loop, sys::Open(device, O_RDWR));
  if (::ioctl(loop.get(), LOOP_CLR_FD, 0) == 0 || errno == ENXIO) return {};
  return FailErrno(errno, fmt::format("detach {}", device));
}

class Remover {
 public:
  Remover(const LauncherConfig& config, sys::CgroupTree cgroups)
      : config_(config),
        cgroups_(std::move(cgroups)),
        layers_(config.state_dir + "/sandboxes"),
        runtime_(MakeCrunRuntime(config.run_dir + "/crun", config.runtime_deadline)) {}

  Result<void> Remove(const Leak& leak) {
    if (leak.kind == "process") return EndProcess(config_, leak);
    if (leak.kind == "cgroup") return cgroups_.Find(leak.owner).Remove();
    if (leak.kind == "container") return Forget(leak);
    if (leak.kind == "frozen") return cgroups_.Find(leak.owner).Freeze(false);
    if (leak.kind == "loop") return Detach(leak.what);
    if (IsMount(leak)) return sys::Unmount(leak.what, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (leak.what == layers_.Dir(leak.owner)) return layers_.Remove(leak.owner);
    if (leak.kind == "temporary") return RemoveTemporary(leak);
    return sys::RemoveTree(leak.what);
  }

 private:
  // What crun cannot read it does not forget either.
  Result<void> Forget(const Leak& leak) {
    Result<void> deleted = runtime_->Delete(leak.owner);
    Result<void> removed = sys::RemoveTree(leak.what);
    return removed ? removed : deleted;
  }

  // A template that is being made by now has the name of the one that was left.
  Result<void> RemoveTemporary(const Leak& leak) {
    sys::Fd lock;
    if (leak.what.starts_with(config_.state_dir + "/templates/") && leak.what.ends_with(".part")) {
      ASSIGN(lock, LockTemplates(config_.state_dir));
    }
    return sys::RemoveTree(leak.what);
  }

  const LauncherConfig& config_;
  sys::CgroupTree cgroups_;
  Layers layers_;
  std::unique_ptr<Runtime> runtime_;
};

// Processes before what they use, mounts before the directories that they lie in.
int OrderOf(const Leak& leak) {
  constexpr std::string_view kOrder[] = {"process",   "cgroup", "container", "mount",
                                         "namespace", "loop",   "frozen"};
  for (int i = 0; const std::string_view& kind : kOrder) {
    if (leak.kind == kind) return i;
    ++i;
  }
  return static_cast<int>(std::size(kOrder));
}

}  // namespace

Result<std::vector<LeftLeak>> RemoveFound(const LauncherConfig& config,
                                          const std::vector<Leak>& leaks) {
  std::vector<LeftLeak> left;
  if (leaks.empty()) return left;
  UnmountAll(leaks, left);
  int daemon = DaemonPid(config.run_dir);
  if (daemon != 0) {
    TRY(EnterMountNamespaceOf(daemon));
  } else {
    TRY(sys::EnterPrivateMountNamespace());
  }
  ASSIGN(auto cgroups, InspectCgroups(config));
  Remover remover(config, std::move(cgroups));
  std::vector<Leak> ordered = leaks;
  std::ranges::sort(ordered, {}, OrderOf);
  for (const Leak& leak : ordered) {
    bool resists = std::ranges::find(left, leak, &LeftLeak::leak) != left.end();
    if (resists) continue;
    Result<void> removed = remover.Remove(leak);
    if (!removed) left.push_back({.leak = leak, .why = removed.error().message});
  }
  return left;
}

}  // namespace atl::oci
