// SPDX-License-Identifier: Apache-2.0
// Mounts, by the descriptor-based interface of Linux 5.2 and later. (Not mount.h: that is libc's.)
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::sys {

// Gives the calling process a mount namespace of its own: mounts of the host still arrive, none
// leaves. Call it in main, before the first thread: threads do not share what they unshare later.
// Under cgroup v1, /sys/fs/cgroup is narrowed there to the hierarchies that Atoll uses and the
// cgroup2 mount beside them is hidden, because crun refuses a hybrid host and enters every
// hierarchy that it sees, which costs milliseconds each.
Result<void> EnterPrivateMountNamespace();

// A detached copy of the mount at `path` (open_tree).
Result<Fd> CloneMount(const std::string& path, bool recursive = false);
// Attaches a detached mount.
Result<void> AttachMount(int mount, const std::string& target);

// umount2. Flags: MNT_DETACH and so on. A target that is no mount point is success.
Result<void> Unmount(const std::string& target, int flags);

// An attached mount; detached (lazily) with the object.
class Mount {
 public:
  Mount() = default;
  explicit Mount(std::string target) : target_(std::move(target)) {}
  Mount(Mount&& other) noexcept : target_(std::exchange(other.target_, {})) {}
  Mount& operator=(Mount&& other) noexcept;
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;
  ~Mount();

  const std::string& target() const { return target_; }
  Result<void> Detach();
  void Release() { target_.clear(); }

 private:
  std::string target_;
};

struct MountEntry {
  uint64_t id = 0;  // as statx names it
  std::string target;
  std::string fs_type;
  std::string source;
  std::string super_options;
};

// The mounts that `pid` ("self" or a number) sees, in mount order.
Result<std::vector<MountEntry>> ListMounts(const std::string& pid = "self",
                                           const std::string& proc = "/proc");

}  // namespace atl::sys
