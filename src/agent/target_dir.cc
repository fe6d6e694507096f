// SPDX-License-Identifier: Apache-2.0
#include "agent/target_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

namespace atl::agent {
namespace {

constexpr long kMqueueMagic = 0x19800202;

Unexpected Refuse(const std::string& path, std::string_view why) {
  return Fail(Code::kInvalidArgument, "the directory " + path + " " + std::string(why));
}

// The components of an absolute path that may be one of the user's.
Result<std::vector<std::string>> Components(const std::string& path) {
  if (path.empty() || path[0] != '/') return Refuse(path, "is not an absolute path");
  if (path.size() >= 4096 || path.find('\0') != std::string::npos) {
    return Fail(Code::kInvalidArgument, "the directory's path is not usable");
  }
  std::vector<std::string> components;
  for (size_t begin = 1; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string name = path.substr(begin, end - begin);
    if (name == "..") return Refuse(path, "contains ..");
    if (!name.empty() && name != ".") components.push_back(name);
    begin = end + 1;
  }
  if (components.empty()) return Refuse(path, "is the whole file system");
  constexpr std::array<std::string_view, 4> kSystem{"proc", "sys", "dev", ".atoll"};
  if (std::find(kSystem.begin(), kSystem.end(), components[0]) != kSystem.end()) {
    return Refuse(path, "belongs to the system");
  }
  return components;
}

bool IsPseudo(long magic) {
  constexpr std::array<long, 9> kMagics{PROC_SUPER_MAGIC,    SYSFS_MAGIC,   CGROUP_SUPER_MAGIC,
                                        CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC,
                                        SECURITYFS_MAGIC,    BPF_FS_MAGIC,  DEVPTS_SUPER_MAGIC};
  return magic == kMqueueMagic ||
         std::any_of(kMagics.begin(), kMagics.end(), [&](auto known) { return magic == known; });
}

}  // namespace

Result<std::vector<std::string>> MakeMissingDirs(const std::string& path) {
  ASSIGN(auto components, Components(path));
  std::vector<std::string> made;
  ASSIGN(sys::Fd at, sys::Open("/", O_PATH | O_DIRECTORY));
  std::string so_far;
  for (const std::string& component : components) {
    so_far += "/" + component;
    if (mkdirat(at.get(), component.c_str(), 0755) == 0) {
      made.push_back(so_far);
    } else if (errno != EEXIST) {
      int err = errno;
      RemoveMadeDirs(made);
      return FailErrno(err, "make directory " + so_far);
    }
    auto next = sys::OpenAt2(at.get(), component, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    // What is there and cannot be entered is for OpenTargetDir to explain.
    if (!next) break;
    at = std::move(*next);
  }
  return made;
}

void RemoveMadeDirs(const std::vector<std::string>& made) {
  for (auto dir = made.rbegin(); dir != made.rend(); ++dir) rmdir(dir->c_str());
}

Result<sys::Fd> OpenTargetDir(const std::string& path) {
  ASSIGN(auto components, Components(path));
  std::string clean;
  for (const std::string& component : components) clean += "/" + component;
  auto dir = sys::OpenAt2(AT_FDCWD, clean, O_RDONLY | O_DIRECTORY,
                          RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (!dir) {
    if (dir.error().sys_errno == ELOOP) return Refuse(path, "is or lies behind a symbolic link");
    if (dir.error().sys_errno == ENOENT) {
      return Fail(Code::kNotFound, "there is no directory " + path, "DIRECTORY_NOT_FOUND");
    }
    return Unexpected(std::move(dir).error());
  }
  struct statfs file_system{};
  if (fstatfs(dir->get(), &file_system) != 0) return FailErrno(errno, "statfs " + path);
  if (IsPseudo(file_system.f_type)) return Refuse(path, "belongs to the system");
  return dir;
}

Result<std::vector<std::string>> ListNames(int dir) {
  // A descriptor of its own: fdopendir takes it, and the position is not shared.
  ASSIGN(sys::Fd own, sys::OpenAt(dir, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(own.get()), closedir);
  if (!stream) return FailErrno(errno, "read a directory");
  (void)own.Release();
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return FailErrno(errno, "read a directory");
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace atl::agent
