// SPDX-License-Identifier: Apache-2.0
#include "agent/file_user.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "agent/user.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxTable = 1U << 20U;

}  // namespace

Result<FileUser> FindFileUser(const std::string& text) {
  // Without the tables numbers still mean something.
  std::string passwd = sys::ReadFile("/etc/passwd", kMaxTable).value_or("");
  std::string group = sys::ReadFile("/etc/group", kMaxTable).value_or("");
  ASSIGN(User found, FindUser(text, passwd, group));
  FileUser user{.uid = found.uid, .gid = found.gid, .groups = {found.gid}};
  user.groups.insert(user.groups.end(), found.groups.begin(), found.groups.end());
  return user;
}

Result<FileOwner> FindOwner(const std::string& text) {
  bool only_group = text.starts_with(':');
  ASSIGN(FileUser user, FindFileUser(only_group ? "0" + text : text));
  FileOwner owner;
  if (!only_group) owner.uid = user.uid;
  if (text.contains(':')) owner.gid = user.gid;
  return owner;
}

Result<void> BecomeUser(const FileUser& user) {
  // By the system calls themselves: those of the C library would look for other threads.
  if (syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
      syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
      syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) {
    return FailErrno(errno, "become the user " + std::to_string(user.uid));
  }
  // A change of user undoes both.
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return {};
}

}  // namespace atl::agent
