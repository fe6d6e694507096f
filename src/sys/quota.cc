// SPDX-License-Identifier: Apache-2.0
#include "sys/quota.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "sys/fd.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

namespace atl::sys {
namespace {

constexpr uint64_t kQuotaBlock = 1024;  // if_dqblk counts space limits in these
constexpr uint64_t kProbeBytes = 1U << 20U;

Result<Fd> OpenDirectory(const std::string& dir) {
  return Open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<void> QuotaCall(const std::string& dir, uint32_t command, uint32_t project, void* data) {
  ASSIGN(Fd fd, OpenDirectory(dir));
  if (::syscall(SYS_quotactl_fd, fd.get(), QCMD(command, PRJQUOTA), project, data) < 0) {
    return FailErrno(errno, fmt::format("project quota of {}", dir));
  }
  return {};
}

// True when the file system stopped a file from growing past the limit.
Result<bool> IsStopped(const std::string& file) {
  ASSIGN(Fd fd, Open(file, O_WRONLY | O_CREAT | O_EXCL, 0600));
  std::string block(kProbeBytes, 'x');
  for (int i = 0; i < 4; ++i) {
    ssize_t written = ::write(fd.get(), block.data(), block.size());
    if (written == static_cast<ssize_t>(block.size())) continue;
    int error = written < 0 ? errno : EDQUOT;
    if (error == EDQUOT || error == ENOSPC) return true;
    return FailErrno(error, fmt::format("writing {}", file));
  }
  // Space may be given out only when it is written back.
  return ::fsync(fd.get()) < 0 && (errno == EDQUOT || errno == ENOSPC);
}

}  // namespace

Result<void> SetProject(const std::string& dir, uint32_t project) {
  ASSIGN(Fd fd, OpenDirectory(dir));
  fsxattr attributes{};
  if (::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) < 0) {
    return FailErrno(errno, fmt::format("reading the project of {}", dir));
  }
  attributes.fsx_projid = project;
  attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
  if (::ioctl(fd.get(), FS_IOC_FSSETXATTR, &attributes) < 0) {
    return FailErrno(errno, fmt::format("making {} part of project {}", dir, project));
  }
  return {};
}

Result<uint32_t> ProjectOf(const std::string& dir) {
  ASSIGN(Fd fd, OpenDirectory(dir));
  fsxattr attributes{};
  if (::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) < 0) {
    return FailErrno(errno, fmt::format("reading the project of {}", dir));
  }
  return attributes.fsx_projid;
}

Result<void> SetProjectLimits(const std::string& dir, uint32_t project, const QuotaLimits& limits) {
  if_dqblk block{};
  block.dqb_bhardlimit = (limits.bytes + kQuotaBlock - 1) / kQuotaBlock;
  block.dqb_bsoftlimit = block.dqb_bhardlimit;
  block.dqb_ihardlimit = limits.inodes;
  block.dqb_isoftlimit = limits.inodes;
  block.dqb_valid = QIF_LIMITS;
  return QuotaCall(dir, Q_SETQUOTA, project, &block);
}

Result<QuotaUsage> ProjectUsage(const std::string& dir, uint32_t project) {
  if_dqblk block{};
  TRY(QuotaCall(dir, Q_GETQUOTA, project, &block));
  return QuotaUsage{.bytes = block.dqb_curspace, .inodes = block.dqb_curinodes};
}

Result<void> ProbeProjectQuota(const std::string& parent, uint32_t project) {
  // The cheapest question first: most file systems stop here. XFS has no entry of what is not used.
  auto usage = ProjectUsage(parent, project);
  if (!usage && usage.error().sys_errno != ENOENT) return Unexpected(std::move(usage).error());
  std::string dir = fmt::format("{}/.quota-probe.{}", parent, ::getpid());
  TRY(RemoveTree(dir));
  TRY(MakeDirs(dir, 0700));
  auto probe = [&]() -> Result<void> {
    TRY(SetProject(dir, project));
    TRY(SetProjectLimits(dir, project, {.bytes = kProbeBytes}));
    ASSIGN(bool stopped, IsStopped(dir + "/file"));
    if (stopped) return {};
    return Fail(
        Code::kFailedPrecondition,
        fmt::format("the file system of {} counts projects and does not limit them", parent));
  };
  Result<void> probed = probe();
  (void)SetProjectLimits(dir, project, {});
  TRY(RemoveTree(dir));
  return probed;
}

}  // namespace atl::sys
