// SPDX-License-Identifier: Apache-2.0
#include "agent/staging.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "agent/target_dir.h"

namespace atl::agent {
namespace {

constexpr size_t kIdDigits = 16;
// A removal holds a descriptor per level.
constexpr int kMaxRemoveDepth = 64;
constexpr int kSweepRounds = 20;
constexpr useconds_t kSweepPauseUs = 25'000;
constexpr uint64_t kBeneath =
    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;

bool HasPrefix(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) && IsStagingId(name.substr(prefix.size()));
}

// Moves what lies too deep to be removed from here to where it does not.
Result<void> Flatten(int dir, const std::string& name, int flat) {
  for (int number = 0; number < 1'000'000; ++number) {
    std::string fresh = "deep-" + std::to_string(number);
    if (renameat2(dir, name.c_str(), flat, fresh.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == ENOENT) return {};
    if (errno != EEXIST) return FailErrno(errno, "move a directory that lies deep");
  }
  return Fail(Code::kInvalidArgument, "directories are nested too deeply");
}

Result<void> RemoveLevel(int dir, const std::string& name, int flat, int depth) {
  if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, "remove " + name);
  if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return FailErrno(errno, "remove " + name);
  if (depth > kMaxRemoveDepth) return Flatten(dir, name, flat);
  {
    ASSIGN(sys::Fd sub, sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ASSIGN(auto names, ListNames(sub.get()));
    // As much as can go goes: a program may still create entries in one of them.
    Result<void> removed;
    for (const std::string& child : names) {
      auto gone = RemoveLevel(sub.get(), child, flat, depth + 1);
      if (!gone) removed = std::move(gone);
    }
    TRY(std::move(removed));
  }
  if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return FailErrno(errno, "remove " + name);
  }
  return {};
}

// What was moved up comes to lie in the staging directory itself, so it is looked through again.
Result<void> RemoveStaging(int root, const std::string& name) {
  auto top = sys::OpenAt(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  // Something else of such a name: a program put it there.
  if (!top) return RemoveLevel(root, name, root, 0);
  while (true) {
    ASSIGN(auto names, ListNames(top->get()));
    if (names.empty()) break;
    for (const std::string& child : names) TRY(RemoveLevel(top->get(), child, top->get(), 0));
  }
  if (unlinkat(root, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return FailErrno(errno, "remove " + name);
  }
  return {};
}

}  // namespace

bool IsStagingId(std::string_view id) {
  return id.size() == kIdDigits &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsStagingName(std::string_view name) {
  return HasPrefix(name, kRestorePrefix) || HasPrefix(name, kReadyPrefix) ||
         HasPrefix(name, kOldPrefix);
}

std::string StagingName(std::string_view prefix, std::string_view id) {
  return std::string(prefix) + std::string(id);
}

Result<std::string> NewStagingId() {
  std::array<unsigned char, kIdDigits / 2> random{};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return FailErrno(errno, "get random bytes");
  }
  std::string id;
  for (unsigned char byte : random) {
    id += "0123456789abcdef"[byte >> 4U];
    id += "0123456789abcdef"[byte & 15U];
  }
  return id;
}

Result<sys::Fd> MakeStaging(int root, const std::string& id) {
  std::string name = StagingName(kRestorePrefix, id);
  if (mkdirat(root, name.c_str(), 0700) != 0) return FailErrno(errno, "make a directory to stage");
  auto made = [&]() -> Result<sys::Fd> {
    ASSIGN(sys::Fd staging, sys::OpenAt(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    (void)fremovexattr(staging.get(), "system.posix_acl_default");
    (void)fremovexattr(staging.get(), "system.posix_acl_access");
    if (fchown(staging.get(), geteuid(), getegid()) != 0 || fchmod(staging.get(), 0700) != 0) {
      return FailErrno(errno, "set the owner of a staging directory");
    }
    for (const char* part : {kStagedDir, kAwayDir}) {
      if (mkdirat(staging.get(), part, 0700) != 0) {
        return FailErrno(errno, "make a directory to stage");
      }
    }
    return staging;
  }();
  if (!made) (void)RemoveStaging(root, name);
  return made;
}

Result<sys::Fd> OpenBeneath(int root, const std::string& path, int flags) {
  return sys::OpenAt2(root, path.empty() ? "." : path, flags | O_NOFOLLOW, kBeneath);
}

std::pair<std::string, std::string> SplitPath(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Result<void> RemoveAt(int dir, const std::string& name, int flat) {
  return RemoveLevel(dir, name, flat, 0);
}

void SweepPrefixes(int root, std::initializer_list<std::string_view> prefixes) {
  struct stat st{};
  bool removed = false;
  if (fstat(root, &st) != 0) return;
  for (int round = 0; round < kSweepRounds; ++round) {
    auto names = ListNames(root);
    if (!names) break;
    bool clean = true;
    for (const std::string& name : *names) {
      bool rubbish = std::any_of(prefixes.begin(), prefixes.end(),
                                 [&](std::string_view prefix) { return HasPrefix(name, prefix); });
      if (!rubbish) continue;
      removed = true;
      if (!RemoveStaging(root, name)) clean = false;
    }
    if (clean) break;
    usleep(kSweepPauseUs);
  }
  if (!removed) return;
  std::array<timespec, 2> times{{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, st.st_mtim}};
  (void)futimens(root, times.data());
}

void Sweep(int root) { SweepPrefixes(root, {kRestorePrefix, kReadyPrefix, kOldPrefix}); }

}  // namespace atl::agent
