// SPDX-License-Identifier: Apache-2.0
#include "oci/disk_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/log.h"
#include "sys/ext4.h"
#include "sys/fd.h"
#include "sys/loop.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint64_t kBytesPerInode = 8192;
constexpr uint64_t kFewestInodes = 1024;
constexpr uint64_t kOwnInodes = 16;  // lost+found, upper, work and those that ext4 keeps
constexpr std::chrono::minutes kCheckLimit{10};
constexpr std::chrono::seconds kUnusedLimit{5};
// mkfs.ext4 gives large ones a journal of 64 MiB and more, which they fill in time whatever they
// hold.
constexpr uint64_t kSmallJournal = 1ULL << 30U;  // up to this its own choice is no larger
constexpr std::string_view kJournal = "size=16";

// noinit_itable: the tables lie in holes of the file, which are zeros as they are. discard: what
// is deleted inside becomes free outside.
constexpr std::string_view kMountOptions = "noinit_itable,discard,errors=remount-ro";

Result<void> WriteSparse(const std::string& file, uint64_t bytes) {
  ASSIGN(sys::Fd fd, sys::Open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) < 0) {
    return FailErrno(errno, fmt::format("making {} {} bytes long", file, bytes));
  }
  return {};
}

// e2fsck's exit codes: 1 and 2 are "errors were corrected".
Result<void> Check(const std::string& file) {
  ASSIGN(sys::Finished done, sys::Run({.argv = {"e2fsck", "-f", "-y", file},
                                       .timeout = std::chrono::milliseconds(kCheckLimit)}));
  if (done.exit_code <= 2) return {};
  return Fail(Code::kInternal,
              fmt::format("e2fsck cannot mend {} ({}): {}", file, done.exit_code, done.err));
}

// A device ends some time after its last user.
Result<void> AwaitUnused(const std::string& file) {
  auto end = std::chrono::steady_clock::now() + kUnusedLimit;
  while (std::chrono::steady_clock::now() < end) {
    auto shows = [&file](const sys::LoopInUse& loop) { return loop.file == file; };
    if (std::ranges::none_of(sys::ListLoopFiles(), shows)) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return Fail(Code::kUnavailable, fmt::format("{} is still in use", file));
}

}  // namespace

Result<void> MakeDiskImage(const std::string& file, const DiskImageSpec& spec) {
  std::string partial = file + ".tmp";
  TRY(sys::RemoveTree(partial));
  auto make = [&]() -> Result<void> {
    TRY(WriteSparse(partial, spec.bytes));
    uint64_t inodes = spec.inodes == 0 ? std::max(kFewestInodes, spec.bytes / kBytesPerInode)
                                       : spec.inodes + kOwnInodes;
    std::vector<std::string> argv = {"mkfs.ext4", "-q",  "-F", "-b", "4096",
                                     "-I",        "256", "-m", "0",  "-N"};
    argv.push_back(fmt::format("{}", inodes));
    if (spec.bytes > kSmallJournal) argv.insert(argv.end(), {"-J", std::string(kJournal)});
    argv.insert(argv.end(),
                {"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", partial});
    auto made = sys::RunChecked({.argv = std::move(argv)});
    if (!made) {
      return Unexpected(std::move(made).error().Wrap("mkfs.ext4 (of the package e2fsprogs)"));
    }
    if (std::rename(partial.c_str(), file.c_str()) != 0) {
      return FailErrno(errno, fmt::format("renaming {}", partial));
    }
    return {};
  };
  Result<void> made = make();
  if (!made) (void)sys::RemoveTree(partial);
  return made;
}

Result<sys::Mount> MountDiskImage(const std::string& file, const std::string& target) {
  for (bool checked = false;; checked = true) {
    Result<void> mounted;
    bool fresh = false;
    {
      ASSIGN(sys::LoopDevice device, sys::AttachLoop(file));
      fresh = device.fresh;
      mounted = sys::MountDevice(device.path, "ext4", target, kMountOptions);
    }
    // Only what nobody uses may be mended.
    bool mendable = fresh && !checked;
    if (mounted) {
      sys::Mount mount(target);
      // Replaying the journal tells of errors that a write of the superblock could not.
      auto super = sys::ReadExt4Super(file);
      if (!mendable || !super || !super->has_errors) return mount;
      TRY(mount.Detach());
      mounted = Fail(Code::kInternal, "errors were found in it");
    }
    if (!mendable) return Unexpected(std::move(mounted).error());
    log::Warning("{}: {}; checking it", file, mounted.error().message);
    TRY(AwaitUnused(file));
    TRY(Check(file));
  }
}

}  // namespace atl::oci
