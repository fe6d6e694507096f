// SPDX-License-Identifier: Apache-2.0
#include "sys/overlay.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "sys/mounts.h"

namespace atl::sys {
namespace {

// The kernel's own words about what is wrong are read from the context itself.
std::string ContextMessages(int context) {
  std::string messages;
  std::array<char, 512> line;
  for (int i = 0; i < 8; ++i) {
    ssize_t n = ::read(context, line.data(), line.size());
    if (n <= 0) break;
    messages += fmt::format(" [{}]", std::string_view(line.data(), static_cast<size_t>(n)));
  }
  return messages;
}

Unexpected FailContext(int err, int context, std::string_view what) {
  Error error = ErrnoError(err, what);
  error.message += ContextMessages(context);
  return Unexpected(std::move(error));
}

// While it lives, this thread makes files as `user`, with all that root may do. An overlay works
// with the credentials that it was made with, and the kernel takes CAP_SYS_RESOURCE out of them
// itself (ovl_fill_super).
class FileUser {
 public:
  explicit FileUser(uint32_t user) {
    if (user == 0) return;
    ::setfsgid(user);
    ::setfsuid(user);
    // A file user other than root has lost what root may do with files.
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> sets{};
    if (::syscall(SYS_capget, &header, sets.data()) != 0) return;
    for (auto& set : sets) set.effective = set.permitted;
    (void)::syscall(SYS_capset, &header, sets.data());
  }
  ~FileUser() {
    ::setfsuid(0);
    ::setfsgid(0);
  }
  FileUser(const FileUser&) = delete;
  FileUser& operator=(const FileUser&) = delete;
};

std::string PathOf(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

Result<Fd> AssembleWith(int lower, int upper, int work, uint32_t user, bool redirect) {
  Fd context(::fsopen("overlay", FSOPEN_CLOEXEC));
  if (!context) return FailErrno(errno, "opening an overlay context");
  const std::array<std::pair<const char*, std::string>, 4> options = {{{"source", "atoll"},
                                                                       {"lowerdir", PathOf(lower)},
                                                                       {"upperdir", PathOf(upper)},
                                                                       {"workdir", PathOf(work)}}};
  for (const auto& [key, value] : options) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) < 0) {
      return FailContext(errno, context.get(), fmt::format("setting the overlay's {}", key));
    }
  }
  // Without it a directory of the lower layer cannot be renamed.
  if (redirect && ::fsconfig(context.get(), FSCONFIG_SET_STRING, "redirect_dir", "on", 0) < 0) {
    return FailContext(errno, context.get(), "setting the overlay's redirect_dir");
  }
  FileUser as(user);
  // A sandbox's layer is worth nothing after a crash of the host beyond what it synced itself.
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    return FailContext(errno, context.get(), "creating the overlay");
  }
  int mount = ::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
  if (mount < 0) return FailContext(errno, context.get(), "mounting the overlay");
  return Fd(mount);
}

Result<Fd> Assemble(int lower, int upper, int work, uint32_t user) {
  if (auto overlay = AssembleWith(lower, upper, work, user, true)) return overlay;
  return AssembleWith(lower, upper, work, user, false);
}

Result<Fd> OpenDirectory(const std::string& path) { return Open(path, O_PATH | O_DIRECTORY); }

}  // namespace

Result<Fd> MakeOverlay(const OverlaySpec& spec) {
  ASSIGN(Fd lower, OpenDirectory(spec.lower));
  ASSIGN(Fd upper, OpenDirectory(spec.upper));
  ASSIGN(Fd work, OpenDirectory(spec.work));
  return Assemble(lower.get(), upper.get(), work.get(), spec.user);
}

Result<Fd> MakeOverlay(int lower_mount, const OverlaySpec& spec, const std::string& scratch) {
  ASSIGN(Fd upper, OpenDirectory(spec.upper));
  ASSIGN(Fd work, OpenDirectory(spec.work));
  if (auto direct = Assemble(lower_mount, upper.get(), work.get(), spec.user)) return direct;
  TRY(AttachMount(lower_mount, scratch));
  Mount attached(scratch);
  ASSIGN(Fd lower, OpenDirectory(scratch));
  return Assemble(lower.get(), upper.get(), work.get(), spec.user);
}

}  // namespace atl::sys
