// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup_moves.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sys/fd.h"
#include "sys/mounts.h"

namespace atl::sys {
namespace {

constexpr std::string_view kOption = "favordynmods";

std::vector<std::string> Options(std::string_view text) {
  std::vector<std::string> options;
  while (!text.empty()) {
    size_t end = std::min(text.find(','), text.size());
    std::string_view option = text.substr(0, end);
    // Flags of every file system, which are told apart from those of this one.
    if (!option.empty() && option != "rw" && option != "ro") options.emplace_back(option);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return options;
}

bool Has(const std::vector<std::string>& options, std::string_view wanted) {
  return std::ranges::find(options, wanted) != options.end();
}

Result<std::optional<MountEntry>> FindCgroup2(const CgroupHost& host) {
  ASSIGN(auto mounts, ListMounts("self", host.proc));
  for (MountEntry& entry : mounts) {
    if (entry.fs_type == "cgroup2" && entry.target.starts_with(host.mount_point)) {
      return std::optional(std::move(entry));
    }
  }
  return std::optional<MountEntry>();
}

Result<void> Configure(const Fd& context, unsigned command, const char* key,
                       const std::string& target) {
  if (::syscall(SYS_fsconfig, context.get(), command, key, nullptr, 0) == 0) return {};
  int error = errno;
  return FailErrno(error,
                   fmt::format("setting {} of {}", key == nullptr ? "the options" : key, target));
}

}  // namespace

Result<bool> FavorsCgroupMoves(const CgroupHost& host) {
  ASSIGN(std::optional<MountEntry> found, FindCgroup2(host));
  return found && Has(Options(found->super_options), kOption);
}

Result<void> FavorCgroupMoves(const CgroupHost& host) {
  ASSIGN(std::optional<MountEntry> found, FindCgroup2(host));
  if (!found) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("no cgroup2 is mounted below {}", host.mount_point), "CGROUP2_MISSING");
  }
  std::vector<std::string> options = Options(found->super_options);
  if (Has(options, kOption)) return {};
  int raw =
      static_cast<int>(::syscall(SYS_fspick, AT_FDCWD, found->target.c_str(), FSPICK_CLOEXEC));
  if (raw < 0) return FailErrno(errno, fmt::format("opening the options of {}", found->target));
  Fd context(raw);
  // What is not named is switched off.
  options.emplace_back(kOption);
  for (const std::string& option : options) {
    TRY(Configure(context, FSCONFIG_SET_FLAG, option.c_str(), found->target));
  }
  return Configure(context, FSCONFIG_CMD_RECONFIGURE, nullptr, found->target);
}

}  // namespace atl::sys
