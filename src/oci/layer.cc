// SPDX-License-Identifier: Apache-2.0
#include "oci/layer.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "base/log.h"
#include "oci/disk_guard.h"
#include "oci/disk_image.h"
#include "sys/fd.h"
#include "sys/quota.h"

namespace atl::oci {
namespace {

// Below the numbers of sandboxes, above those that administrators give.
constexpr uint32_t kProbeProject = 0x0FFFFFFF;
constexpr uint64_t kStatBlock = 512;
constexpr std::string_view kMountPrefix = "mnt.";  // of places where an image is mounted

bool IsThere(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// Adds up what lies below `root`, directory by directory; hard links count once each, which errs on
// the safe side.
Result<LayerUsage> Walk(const std::string& root, uint64_t most_entries) {
  LayerUsage usage;
  std::vector<std::string> left = {"."};
  ASSIGN(sys::Fd top, sys::Open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  while (!left.empty()) {
    std::string path = std::move(left.back());
    left.pop_back();
    // What the sandbox has removed meanwhile is not counted.
    auto fd = sys::OpenAt2(top.get(), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                           0x08 /* RESOLVE_BENEATH */ | 0x04 /* RESOLVE_NO_SYMLINKS */);
    if (!fd) continue;
    int number = fd->Release();
    std::unique_ptr<DIR, DirCloser> stream(::fdopendir(number));
    if (!stream) continue;
    while (const dirent* entry = ::readdir(stream.get())) {
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (usage.inodes >= most_entries) {
        usage.complete = false;
        return usage;
      }
      struct stat info{};
      if (::fstatat(number, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      ++usage.inodes;
      usage.bytes += static_cast<uint64_t>(info.st_blocks) * kStatBlock;
      // Deeper than a path may be long: not followed.
      if (S_ISDIR(info.st_mode) && path.size() + name.size() < 4000) {
        left.push_back(fmt::format("{}/{}", path, name));
      }
    }
  }
  return usage;
}

}  // namespace

Layers::Layers(std::string parent) : parent_(std::move(parent)) {
  quota_ = sys::ProbeProjectQuota(parent_, kProbeProject).has_value();
}

std::string Layers::Dir(const std::string& iid) const { return fmt::format("{}/{}", parent_, iid); }
std::string Layers::Image(const std::string& iid) const { return Dir(iid) + "/disk.img"; }

bool Layers::Exists(const std::string& iid) const {
  return IsThere(Dir(iid) + "/upper") || IsThere(Image(iid));
}

Result<OpenLayer> Layers::Open(const LayerSpec& spec) const {
  std::string dir = Dir(spec.iid);
  TRY(sys::MakeDirs(dir, 0700));
  bool plain = IsThere(dir + "/upper");
  if (IsThere(Image(spec.iid))) return Show(spec.iid);
  if (spec.disk_bytes == 0 && spec.inodes == 0) return OpenLayer(std::move(dir));
  if (quota_) {
    // First the project: what is made in the directory inherits it.
    TRY(sys::SetProject(dir, spec.id_base));
    TRY(sys::SetProjectLimits(dir, spec.id_base,
                              {.bytes = spec.disk_bytes, .inodes = spec.inodes}));
    return OpenLayer(std::move(dir));
  }
  if (plain) {
    log::Warning(
        "{} was made where project quotas were available, which they are not here: it "
        "grows without a limit",
        dir);
    return OpenLayer(std::move(dir));
  }
  auto opened = OpenImage(spec);
  if (opened) return opened;
  Error error = std::move(opened).error().Wrap(
      fmt::format("limit the disk of a sandbox: {} has no project quota, and an image in it cannot "
                  "be used",
                  parent_));
  if (error.code != Code::kResourceExhausted) {
    error.code = Code::kFailedPrecondition;
    error.reason = "DISK_LIMIT_UNSUPPORTED";
  }
  return Unexpected(std::move(error));
}

Result<OpenLayer> Layers::OpenImage(const LayerSpec& spec) const {
  TRY(MakeDiskImage(Image(spec.iid), {.bytes = spec.disk_bytes, .inodes = spec.inodes}));
  return Show(spec.iid);
}

Result<OpenLayer> Layers::Show(const std::string& iid) const {
  if (!IsThere(Image(iid))) return OpenLayer(Dir(iid));
  // A place of its own: a file system is not mounted twice at the same.
  static std::atomic<uint64_t> number = 0;
  std::string place = fmt::format("{}/{}{}", Dir(iid), kMountPrefix, number++);
  TRY(sys::MakeDirs(place, 0700));
  auto mount = MountDiskImage(Image(iid), place);
  if (!mount) {
    ::rmdir(place.c_str());
    return Unexpected(std::move(mount).error());
  }
  OpenLayer layer(*std::move(mount));
  if (::chmod(place.c_str(), 0700) < 0) {
    return FailErrno(errno, fmt::format("closing {} to others", place));
  }
  if (guard_ != nullptr) guard_->Mounted(iid, place);
  return layer;
}

void OpenLayer::Close() {
  if (mount_.target().empty()) return;
  Result<void> detached = mount_.Detach();
  if (detached) {
    ::rmdir(dir_.c_str());
  } else {
    log::Error("{}", detached.error().message);
  }
}

Result<void> Layers::Hide(const std::string& iid) const {
  std::unique_ptr<DIR, DirCloser> stream(::opendir(Dir(iid).c_str()));
  if (!stream) return {};
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(kMountPrefix)) continue;
    std::string place = fmt::format("{}/{}", Dir(iid), name);
    TRY(sys::Unmount(place, MNT_DETACH | UMOUNT_NOFOLLOW));
    ::rmdir(place.c_str());
  }
  return {};
}

Result<void> Layers::Release(const std::string& iid) const {
  TRY(Hide(iid));
  if (quota_ && IsThere(Dir(iid))) {
    // The next sandbox with these ids may have no limit.
    auto project = sys::ProjectOf(Dir(iid));
    if (project && *project != 0) TRY(sys::SetProjectLimits(Dir(iid), *project, {}));
  }
  return {};
}

Result<void> Layers::Remove(const std::string& iid) const {
  TRY(Release(iid));
  return sys::RemoveTree(Dir(iid));
}

bool Layers::IsCheapToMeasure(const std::string& iid) const {
  if (IsThere(Image(iid))) return true;
  if (!quota_) return false;
  auto project = sys::ProjectOf(Dir(iid));
  return project && *project != 0;
}

Result<LayerUsage> Layers::Usage(const std::string& iid, int pid, uint64_t most_entries) const {
  if (IsThere(Image(iid))) {
    struct statfs info{};
    std::string root = fmt::format("/proc/{}/root", pid);
    if (pid > 1 && ::statfs(root.c_str(), &info) == 0) {
      return LayerUsage{
          .bytes = (info.f_blocks - info.f_bfree) * static_cast<uint64_t>(info.f_bsize),
          .inodes = info.f_files - info.f_ffree};
    }
    struct stat file{};
    if (::stat(Image(iid).c_str(), &file) < 0) return FailErrno(errno, "stat " + Image(iid));
    return LayerUsage{.bytes = static_cast<uint64_t>(file.st_blocks) * kStatBlock};
  }
  if (quota_) {
    auto project = sys::ProjectOf(Dir(iid));
    if (project && *project != 0) {
      ASSIGN(sys::QuotaUsage usage, sys::ProjectUsage(Dir(iid), *project));
      return LayerUsage{.bytes = usage.bytes, .inodes = usage.inodes};
    }
  }
  return Walk(Dir(iid) + "/upper", most_entries);
}

}  // namespace atl::oci
