// SPDX-License-Identifier: Apache-2.0
#include "sys/loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <mutex>
#include <optional>

namespace atl::sys {
namespace {

constexpr int kTries = 64;
constexpr std::string_view kDeleted = " (deleted)";

std::mutex& AttachMutex() {
  static std::mutex mutex;
  return mutex;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  DIR* directory = ::opendir("/sys/block");
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    std::string name = entry->d_name;
    if (name.starts_with("loop")) names.push_back(std::move(name));
  }
  ::closedir(directory);
  return names;
}

// What the device shows; nothing when it shows no file (any more).
std::optional<loop_info64> StatusOf(int device) {
  loop_info64 info{};
  if (::ioctl(device, LOOP_GET_STATUS64, &info) < 0) return std::nullopt;
  return info;
}

bool Shows(const loop_info64& info, const struct stat& file) {
  return info.lo_device == file.st_dev && info.lo_inode == file.st_ino;
}

// The name that sysfs has of a device's file; empty without one.
std::string FileOf(const std::string& name) {
  auto file = ReadFile(fmt::format("/sys/block/{}/loop/backing_file", name), 65536);
  if (!file) return {};
  while (file->ends_with('\n')) file->pop_back();
  if (file->ends_with(kDeleted)) file->resize(file->size() - kDeleted.size());
  return *std::move(file);
}

std::optional<LoopDevice> FindAttached(const struct stat& file) {
  for (const std::string& name : Names()) {
    if (FileOf(name).empty()) continue;
    std::string path = "/dev/" + name;
    auto fd = Open(path, O_RDWR);
    if (!fd) continue;
    // Asked only now: from here on the device cannot lose its file.
    auto info = StatusOf(fd->get());
    if (!info || !Shows(*info, file)) continue;
    return LoopDevice{.path = std::move(path), .fd = *std::move(fd), .fresh = false};
  }
  return std::nullopt;
}

}  // namespace

Result<LoopDevice> AttachLoop(const std::string& image) {
  ASSIGN(Fd file, Open(image, O_RDWR | O_NOFOLLOW));
  struct stat info{};
  if (::fstat(file.get(), &info) < 0) return FailErrno(errno, fmt::format("stat {}", image));
  std::lock_guard guard(AttachMutex());
  if (auto attached = FindAttached(info)) return *std::move(attached);
  ASSIGN(Fd control, Open("/dev/loop-control", O_RDWR));
  for (int i = 0; i < kTries; ++i) {
    int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return FailErrno(errno, "asking for a free loop device");
    LoopDevice device{.path = fmt::format("/dev/loop{}", number)};
    ASSIGN(device.fd, Open(device.path, O_RDWR));
    loop_config config{};
    config.fd = static_cast<uint32_t>(file.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
    // Somebody else was given the same one.
    if (errno != EBUSY)
      return FailErrno(errno, fmt::format("attaching {} to {}", image, device.path));
  }
  return Fail(Code::kResourceExhausted, fmt::format("no loop device stays free for {}", image));
}

std::vector<LoopInUse> ListLoopFiles() {
  std::vector<LoopInUse> loops;
  for (const std::string& name : Names()) {
    std::string file = FileOf(name);
    if (!file.empty()) loops.push_back({.path = "/dev/" + name, .file = std::move(file)});
  }
  return loops;
}

std::vector<LoopInUse> ListLoops() {
  std::vector<LoopInUse> loops = ListLoopFiles();
  std::erase_if(loops, [](LoopInUse& loop) {
    auto fd = Open(loop.path, O_RDONLY);
    auto info = fd ? StatusOf(fd->get()) : std::nullopt;
    if (info) loop.device = info->lo_device;
    return !info;
  });
  return loops;
}

Result<void> MountDevice(const std::string& device, std::string_view fs_type,
                         const std::string& target, std::string_view options) {
  if (::mount(device.c_str(), target.c_str(), std::string(fs_type).c_str(), MS_NODEV | MS_NOSUID,
              std::string(options).c_str()) < 0) {
    return FailErrno(errno, fmt::format("mounting {} at {}", device, target));
  }
  return {};
}

}  // namespace atl::sys
