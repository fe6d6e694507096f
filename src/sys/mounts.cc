// SPDX-License-Identifier: Apache-2.0
#include "sys/mounts.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

namespace atl::sys {
namespace {

constexpr char kCgroupDir[] = "/sys/fs/cgroup";
constexpr long kCgroup2Magic = 0x63677270;  // CGROUP2_SUPER_MAGIC

// What Atoll limits, counts and freezes with. crun's device rules are not needed: a program in a
// user namespace cannot make device nodes, and the root is mounted nodev.
constexpr std::array<std::string_view, 4> kWanted = {"memory", "pids", "cpu", "freezer"};

bool Wanted(const MountEntry& entry) {
  if (entry.fs_type != "cgroup" || !entry.target.starts_with("/sys/fs/cgroup/")) return false;
  std::string_view options = entry.super_options;
  while (!options.empty()) {
    size_t comma = options.find(',');
    std::string_view option = options.substr(0, comma);
    if (std::ranges::find(kWanted, option) != kWanted.end()) return true;
    if (comma == std::string_view::npos) break;
    options.remove_prefix(comma + 1);
  }
  return false;
}

// Octal escapes of mountinfo: \040 and so on.
std::string Unescape(std::string_view field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      out += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                               (field[i + 3] - '0'));
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t end = text.find(separator);
    if (end != 0) parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

// Puts a tmpfs that holds just the wanted hierarchies over /sys/fs/cgroup.
Result<void> NarrowCgroups() {
  struct statfs info{};
  if (::statfs(kCgroupDir, &info) < 0) return FailErrno(errno, "looking at /sys/fs/cgroup");
  if (info.f_type == kCgroup2Magic) return {};
  ASSIGN(auto mounts, ListMounts());
  std::vector<std::pair<std::string, Fd>> kept;
  for (const MountEntry& entry : mounts) {
    if (!Wanted(entry)) continue;
    ASSIGN(Fd copy, CloneMount(entry.target));
    kept.emplace_back(entry.target, std::move(copy));
  }
  if (kept.empty()) {
    return Fail(Code::kFailedPrecondition,
                "no cgroup hierarchy with memory, pids or cpu is mounted in /sys/fs/cgroup");
  }
  if (::mount("atoll-cgroup", kCgroupDir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=755,size=64k") < 0) {
    return FailErrno(errno, "mounting a tmpfs on /sys/fs/cgroup");
  }
  for (auto& [target, copy] : kept) {
    if (::mkdir(target.c_str(), 0755) < 0 && errno != EEXIST) {
      return FailErrno(errno, fmt::format("making {}", target));
    }
    TRY(AttachMount(copy.get(), target));
  }
  return {};
}

}  // namespace

Result<void> EnterPrivateMountNamespace() {
  if (::unshare(CLONE_NEWNS) < 0) return FailErrno(errno, "unshare(CLONE_NEWNS)");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0) {
    return FailErrno(errno, "making the mounts of the new namespace slaves");
  }
  TRY(NarrowCgroups());
  return {};
}

Result<Fd> CloneMount(const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0U);
  int fd = ::open_tree(AT_FDCWD, path.c_str(), flags);
  if (fd < 0) return FailErrno(errno, fmt::format("copying the mount at {}", path));
  return Fd(fd);
}

Result<void> AttachMount(int mount, const std::string& target) {
  if (::move_mount(mount, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    return FailErrno(errno, fmt::format("attaching a mount to {}", target));
  }
  return {};
}

Result<void> Unmount(const std::string& target, int flags) {
  if (::umount2(target.c_str(), flags) < 0 && errno != EINVAL && errno != ENOENT) {
    return FailErrno(errno, fmt::format("unmounting {}", target));
  }
  return {};
}

Mount& Mount::operator=(Mount&& other) noexcept {
  if (this != &other) {
    (void)Detach();
    target_ = std::exchange(other.target_, {});
  }
  return *this;
}

Mount::~Mount() { (void)Detach(); }

Result<void> Mount::Detach() {
  if (target_.empty()) return {};
  return Unmount(std::exchange(target_, {}), MNT_DETACH | UMOUNT_NOFOLLOW);
}

// Lines of proc_pid_mountinfo(5): `36 35 98:0 /root /target options optional... - type source opts`
Result<std::vector<MountEntry>> ListMounts(const std::string& pid, const std::string& proc) {
  ASSIGN(std::string text, ReadFile(fmt::format("{}/{}/mountinfo", proc, pid), 64U << 20U));
  std::vector<MountEntry> mounts;
  for (std::string_view line : Split(text, '\n')) {
    std::vector<std::string_view> fields = Split(line, ' ');
    auto dash = std::ranges::find(fields, std::string_view("-"));
    if (fields.size() < 5 || fields.end() - dash < 4) continue;
    uint64_t id = 0;
    std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), id);
    mounts.push_back(MountEntry{.id = id,
                                .target = Unescape(fields[4]),
                                .fs_type = std::string(dash[1]),
                                .source = Unescape(dash[2]),
                                .super_options = std::string(dash[3])});
  }
  return mounts;
}

}  // namespace atl::sys
