// SPDX-License-Identifier: Apache-2.0
#include "oci/bucket_client.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "oci/bucket_bundle.h"
#include "oci/disk_image.h"
#include "oci/runtime.h"
#include "sys/fuse.h"
#include "sys/mounts.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr std::chrono::milliseconds kUnmountLimit{5'000};
// A client that the store refuses answers the kernel before it ends.
constexpr std::chrono::milliseconds kStays{300};
// Nobody who stops or deletes a sandbox waits for its clients for long.
constexpr std::chrono::milliseconds kRuntimeLimit{10'000};
// Whatever is inside, the clients of a sandbox take no more of the host together.
constexpr sys::CgroupLimits kClientLimits{.memory_bytes = 1ULL << 30U, .pids = 512};
// Content on its way, of all buckets of a sandbox together, and the largest file that can be
// written. Spools of all sandboxes have half of the disk at most.
constexpr uint64_t kMostSpool = 4ULL << 30U;
constexpr uint64_t kLeastSpool = 256ULL << 20U;
constexpr uint64_t kSpoolPart = 16;
constexpr uint64_t kSpoolInodes = 4096;
constexpr const char kContainer[] = "client";
constexpr uint64_t kNoSymlinks = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

std::string SourceOf(int slot) { return fmt::format("atoll-bucket-{}", slot); }

std::unique_ptr<Runtime> RuntimeOf(const std::string& dir) {
  return MakeCrunRuntime(dir + "/crun", kRuntimeLimit, false);
}

// In memory, readable by the client alone: no file, no argument and no variable holds it.
Result<sys::Fd> Secret(const BucketMount& mount) {
  sys::Fd secret(::memfd_create("credential", MFD_CLOEXEC));
  if (!secret) return FailErrno(errno, "memfd_create");
  TRY(sys::WriteAll(secret.get(), fmt::format("{}:{}", mount.access_key, mount.secret_key)));
  uid_t owner = mount.id_base + kBucketClientId;
  if (::fchmod(secret.get(), 0400) < 0 || ::fchown(secret.get(), owner, owner) < 0) {
    return FailErrno(errno, "hand a credential over");
  }
  return secret;
}

bool IsEmptyDirectory(int dir) {
  int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  if (entries == nullptr) {
    if (copy >= 0) ::close(copy);
    return false;
  }
  bool empty = true;
  while (const dirent* entry = ::readdir(entries)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") empty = false;
  }
  ::closedir(entries);
  return empty;
}

// Inside the sandbox's mount namespace.
Result<void> Attach(int mount, const BucketMount& to) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
  auto place = sys::OpenAt2(AT_FDCWD, to.path, kFlags, kNoSymlinks);
  if (!place && (place.error().sys_errno == ELOOP || place.error().sys_errno == ENOTDIR)) {
    return Fail(Code::kInvalidArgument,
                fmt::format("{} is no directory, or is reached through a symlink", to.path),
                "INVALID_MOUNT_CONFIG");
  }
  if (!place) return Unexpected(std::move(place).error());
  if (to.must_be_empty && !IsEmptyDirectory(place->get())) {
    return Fail(Code::kAlreadyExists, fmt::format("{} is not empty", to.path), "RESOURCE_BUSY");
  }
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  if (::move_mount(mount, "", place->get(), "", flags) == 0) return {};
  return FailErrno(errno, fmt::format("mount a bucket at {}", to.path));
}

// Inside the sandbox's mount namespace. Directories on the way are the sandbox's to move at any
// moment; what a mount lies on is not. Nothing here asks the file system itself, which may be dead.
Result<void> DetachAt(const sys::MountEntry& entry) {
  size_t slash = entry.target.rfind('/');
  std::string parent = slash == 0 ? "/" : entry.target.substr(0, slash);
  std::string name = entry.target.substr(slash + 1);
  ASSIGN(sys::Fd dir, sys::OpenAt2(AT_FDCWD, parent, O_PATH | O_DIRECTORY, kNoSymlinks));
  struct statx info{};
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
  if (::statx(dir.get(), name.c_str(), flags, STATX_MNT_ID, &info) < 0) {
    return FailErrno(errno, fmt::format("find what is mounted at {}", entry.target));
  }
  if (info.stx_mnt_id != entry.id) {
    return Fail(Code::kFailedPrecondition, fmt::format("{} has moved", entry.target));
  }
  if (::fchdir(dir.get()) < 0 || ::umount2(name.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
    return FailErrno(errno, fmt::format("unmount {}", entry.target));
  }
  return {};
}

// Whether it has ended within the time.
bool EndsWithin(pid_t pid, std::chrono::milliseconds limit) {
  auto process = sys::PidfdOpen(pid);
  if (!process) return true;
  pollfd wait{.fd = process->get(), .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, static_cast<int>(limit.count())) > 0;
}

// What the client says of its failure, for people; its own words stay in the log.
std::string WhyNot(const std::string& log, const Error& error) {
  constexpr std::pair<std::string_view, std::string_view> kWhys[] = {
      {"invalid credentials", "the store refuses the credential"},
      {"bucket not found", "the store knows no such bucket"},
      {"unable to connect", "the store cannot be reached"},
      {"disk space", "the host's disk is nearly full"},
      {"not accessible", "the bucket cannot be used"},
  };
  for (const auto& [words, why] : kWhys) {
    if (log.contains(words)) return std::string(why);
  }
  return error.code == Code::kTimeout ? "the store does not answer" : error.message;
}

}  // namespace

Result<void> BucketClients::Available() {
  std::string why;
  if (::access(kBucketClient, X_OK) != 0) {
    why = fmt::format("{} is not installed", kBucketClient);
  } else if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    why = "the host has no /dev/fuse";
  }
  if (why.empty()) return {};
  return Fail(Code::kFailedPrecondition, "buckets cannot be mounted: " + why,
              "BUCKETS_UNAVAILABLE");
}

std::string BucketClients::Dir(const std::string& iid, int slot) const {
  return fmt::format("{}/{}/buckets/{}", config_.run_dir, iid, slot);
}

// Of a client of the sandbox that lives.
Result<sys::Fd> BucketClients::SpoolOf(const std::string& iid, int slot) const {
  ASSIGN(ContainerState state, RuntimeOf(Dir(iid, slot))->State(kContainer));
  if (state.pid <= 1) return Fail(Code::kNotFound, "its client has ended");
  ASSIGN(sys::Fd process, sys::PidfdOpen(state.pid));
  auto clone = [] { return sys::CloneMount("/tmp"); };
  return sys::RunInMountNamespace(process.get(), clone);
}

Result<sys::Mount> BucketClients::MakeSpool(const BucketMount& mount) const {
  std::string dir = Dir(mount.iid, mount.slot) + "/spool";
  TRY(sys::MakeDirs(dir, 0700));
  for (int slot = 0; slot < kMostBuckets; ++slot) {
    if (slot == mount.slot || ::access(Dir(mount.iid, slot).c_str(), F_OK) != 0) continue;
    auto shared = SpoolOf(mount.iid, slot);
    if (!shared) continue;
    TRY(sys::AttachMount(shared->get(), dir));
    return sys::Mount(dir);
  }
  TRY(sys::MakeDirs(config_.spool_dir, 0700));
  ASSIGN(DiskImageSpec spec, SpoolFor(mount.iid));
  std::string file = fmt::format("{}/{}-{}.img", config_.spool_dir, mount.iid, mount.slot);
  TRY(sys::RemoveTree(file));
  TRY(MakeDiskImage(file, spec));
  auto spool = MountDiskImage(file, dir);
  // The device has it open; it is gone from the disk when the last mount of it is.
  TRY(sys::RemoveTree(file));
  if (!spool) return spool;
  uid_t owner = mount.id_base + kBucketClientId;
  if (::chown(dir.c_str(), owner, owner) < 0 || ::chmod(dir.c_str(), 0700) < 0) {
    return FailErrno(errno, fmt::format("give {} away", dir));
  }
  return spool;
}

// As large as it may be, on this disk, of which others have theirs.
Result<DiskImageSpec> BucketClients::SpoolFor(const std::string& iid) const {
  struct statvfs disk{};
  if (::statvfs(config_.spool_dir.c_str(), &disk) < 0) {
    return FailErrno(errno, fmt::format("look at {}", config_.spool_dir));
  }
  uint64_t all = uint64_t{disk.f_blocks} * disk.f_frsize;
  uint64_t bytes = std::clamp(all / kSpoolPart, kLeastSpool, kMostSpool);
  uint64_t others = 0;
  std::error_code ignored;
  for (const auto& sandbox : std::filesystem::directory_iterator(config_.run_dir, ignored)) {
    if (sandbox.path().filename() == iid) continue;
    if (!std::filesystem::is_empty(sandbox.path() / "buckets", ignored) && !ignored) ++others;
  }
  if (others == 0 || (others + 1) * bytes <= all / 2) {
    return DiskImageSpec{.bytes = bytes, .inodes = kSpoolInodes};
  }
  return Fail(
      Code::kResourceExhausted,
      fmt::format("{} other sandboxes have buckets, each with {} MiB of the host's disk for "
                  "content on its way: half of the disk, which is the most",
                  others, bytes >> 20U),
      "NO_SPACE");
}

Result<sys::Mount> BucketClients::Prepare(const BucketMount& mount) const {
  std::string dir = Dir(mount.iid, mount.slot);
  TRY(End(mount.iid, mount.slot));
  TRY(sys::MakeDirs(dir, 0700));
  ASSIGN(sys::Mount spool, MakeSpool(mount));
  TRY(WriteBucketBundle(dir, {.mount = mount,
                              .spool_dir = spool.target(),
                              .agent_binary = config_.agent_binary,
                              .seccomp_base64 = config_.seccomp_base64}));
  return spool;
}

Result<void> BucketClients::Mount(const BucketMount& mount, const sys::Cgroup& cgroup,
                                  std::chrono::milliseconds limit,
                                  const std::function<bool()>& give_up) const {
  TRY(Available());
  ASSIGN(sys::Mount spool, Prepare(mount));
  std::string dir = Dir(mount.iid, mount.slot);
  ASSIGN(sys::FuseFileSystem made,
         sys::MakeFuse(SourceOf(mount.slot), mount.id_base + kBucketClientId, mount.read_only));
  ASSIGN(sys::Fd secret, Secret(mount));
  ASSIGN(std::vector<sys::Fd> procs, cgroup.OpenClientProcs(kClientLimits));
  ASSIGN(sys::Fd log, sys::Open(dir + "/log", O_RDWR | O_CREAT | O_APPEND, 0600));
  auto pid = RuntimeOf(dir)->Run({.iid = kContainer,
                                  .bundle_dir = dir,
                                  .inherit = {made.device.get(), secret.get()},
                                  .output_fd = log.get()});
  // The container keeps a copy of its own.
  if (Result<void> hidden = sys::Unmount(spool.target(), MNT_DETACH | UMOUNT_NOFOLLOW); hidden) {
    spool.Release();
  }
  // From here on the file system is dead when the client is.
  made.device.Reset();
  secret.Reset();
  Result<void> served;
  if (pid) {
    for (const sys::Fd& file : procs) {
      // One that has ended at once says more below.
      (void)sys::WriteAll(file.get(), fmt::format("{}", *pid));
    }
    auto end = [this, &mount] { (void)End(mount.iid, mount.slot); };
    served = sys::AwaitServed(made.mount.get(), limit, give_up, end);
    if (served && EndsWithin(*pid, kStays)) served = Fail(Code::kInternal, "its client has ended");
  } else {
    served = Unexpected(std::move(pid).error());
  }
  if (!served && served.error().code != Code::kCancelled) {
    served = Fail(Code::kInternal,
                  fmt::format("bucket {} cannot be mounted: {}", mount.bucket,
                              WhyNot(ReadTail(log.get()), served.error())),
                  "BUCKET_MOUNT_ERROR");
  }
  if (served || mount.even_dead) {
    auto attach = [&made, &mount] { return Attach(made.mount.get(), mount); };
    auto attached = sys::RunInMountNamespace(mount.sandbox_pidfd, attach);
    if (served) served = std::move(attached);
  }
  if (served) served = sys::WriteFile(dir + "/mounted", "", 0600);
  if (!served) (void)End(mount.iid, mount.slot);
  return served;
}

Result<bool> BucketClients::Unmount(const std::string& iid, int slot, int pid, int pidfd) const {
  ASSIGN(std::vector<sys::MountEntry> mounts, sys::ListMounts(fmt::format("{}", pid)));
  for (const sys::MountEntry& entry : mounts) {
    if (entry.fs_type != "fuse" || entry.source != SourceOf(slot)) continue;
    auto detach = [&entry] { return DetachAt(entry); };
    TRY(sys::RunInMountNamespace(pidfd, detach));
  }
  // Without a mount it ends by itself, after what it still has to send.
  auto state = RuntimeOf(Dir(iid, slot))->State(kContainer);
  bool released = !state || state->pid <= 1 || EndsWithin(state->pid, kUnmountLimit);
  TRY(End(iid, slot));
  return released;
}

Result<void> BucketClients::End(const std::string& iid, int slot) const {
  std::string dir = Dir(iid, slot);
  if (::access(dir.c_str(), F_OK) != 0) return {};
  TRY(RuntimeOf(dir)->Delete(kContainer));
  TRY(sys::Unmount(dir + "/spool", MNT_DETACH | UMOUNT_NOFOLLOW));
  return sys::RemoveTree(dir);
}

bool BucketClients::Serves(const std::string& iid, int slot) const {
  std::string dir = Dir(iid, slot);
  if (::access((dir + "/mounted").c_str(), F_OK) != 0) return false;
  auto state = RuntimeOf(dir)->State(kContainer);
  return state && state->status == ContainerStatus::kRunning;
}

void BucketClients::EndAll(const std::string& iid) const {
  for (int slot = 0; slot < kMostBuckets; ++slot) (void)End(iid, slot);
}

}  // namespace atl::oci
