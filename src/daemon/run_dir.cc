// SPDX-License-Identifier: Apache-2.0
#include "daemon/run_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string_view>

namespace atl::daemon {

namespace {

// One byte of it stands for each name of cgroups on this host.
constexpr char kCgroupNames[] = "/run/atoll.cgroups";

// FNV-1a: daemons of different builds have to agree.
off_t PlaceOf(std::string_view name) {
  uint64_t hash = 14695981039346656037ULL;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return static_cast<off_t>(hash >> 2U);
}

Result<sys::Fd> LockDirectory(const std::string& dir, std::string_view advice) {
  TRY(sys::MakeDirs(dir, 0711));
  std::string path = dir + "/lock";
  ASSIGN(sys::Fd fd, sys::Open(path, O_RDWR | O_CREAT, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    int err = errno;
    if (err != EWOULDBLOCK) return FailErrno(err, fmt::format("lock {}", path));
    Result<std::string> pid = sys::ReadFile(path, 64);
    return Fail(Code::kAlreadyExists,
                fmt::format("another daemon (pid {}) runs on {}; stop it, or {}",
                            pid ? *pid : "unknown", dir, advice));
  }
  if (::ftruncate(fd.get(), 0) != 0) return FailErrno(errno, fmt::format("truncate {}", path));
  TRY(sys::WriteAll(fd.get(), fmt::to_string(::getpid())));
  return fd;
}

Result<sys::Fd> LockCgroup(const std::string& name) {
  ASSIGN(sys::Fd fd, sys::Open(kCgroupNames, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = PlaceOf(name);
  range.l_len = 1;
  if (::fcntl(fd.get(), F_OFD_SETLK, &range) == 0) return fd;
  int err = errno;
  if (err != EAGAIN && err != EACCES) return FailErrno(err, fmt::format("lock {}", kCgroupNames));
  return Fail(
      Code::kAlreadyExists,
      fmt::format("another daemon has the cgroup \"{}\", and would take these sandboxes for "
                  "left over; set [sandbox] cgroup to another name",
                  name));
}

}  // namespace

Result<DaemonLock> DaemonLock::Take(const std::string& run_dir, const std::string& state_dir,
                                    const std::string& cgroup) {
  std::vector<sys::Fd> held;
  ASSIGN(sys::Fd run,
         LockDirectory(run_dir, "set run_dir, state_dir and [sandbox] cgroup to others"));
  held.push_back(std::move(run));
  ASSIGN(sys::Fd state, LockDirectory(state_dir, "set state_dir to another directory"));
  held.push_back(std::move(state));
  ASSIGN(sys::Fd group, LockCgroup(cgroup));
  held.push_back(std::move(group));
  return DaemonLock(std::move(held));
}

Result<void> WriteAddress(const std::string& run_dir, const std::string& address) {
  return sys::WriteFileAtomic(run_dir + "/address", address + "\n");
}

}  // namespace atl::daemon
