// SPDX-License-Identifier: Apache-2.0
#include "sys/idmap.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "sys/mounts.h"

namespace atl::sys {
namespace {

// The child shares this process's memory while other threads go on: it calls nothing that could
// take a lock or fail (failing would write this thread's errno), and waits to be killed.
int WaitForDeath(void* /*argument*/) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) ::syscall(SYS_ppoll, nullptr, 0, nullptr, nullptr, 0);
}

// A process that does nothing but be in a new user namespace. Not a fork: nothing is copied, so
// it costs the same however large the daemon is.
class NamespaceHolder {
 public:
  NamespaceHolder() = default;
  NamespaceHolder(const NamespaceHolder&) = delete;
  NamespaceHolder& operator=(const NamespaceHolder&) = delete;
  ~NamespaceHolder() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    // __WALL: it sends no signal when it ends, so that no handler of SIGCHLD ever sees it.
    while (::waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }

  Result<void> Start() {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_ = ::clone(&WaitForDeath, stack_.data() + stack_.size(), CLONE_VM | CLONE_NEWUSER, nullptr);
    int err = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid_ < 0) return FailErrno(err, "making a user namespace");
    return {};
  }

  pid_t pid() const { return pid_; }

 private:
  alignas(16) std::array<char, 16384> stack_;
  pid_t pid_ = -1;
};

}  // namespace

Result<Fd> MakeUserNamespace(IdRange range) {
  NamespaceHolder holder;
  TRY(holder.Start());
  std::string map = fmt::format("0 {} {}\n", range.base, range.size);
  for (const char* file : {"uid_map", "gid_map"}) {
    auto written = WriteFile(fmt::format("/proc/{}/{}", holder.pid(), file), map);
    if (!written) {
      return Unexpected(
          std::move(written).error().Wrap(fmt::format("mapping ids 0 to {}", range.base)));
    }
  }
  return Open(fmt::format("/proc/{}/ns/user", holder.pid()), O_RDONLY);
}

Result<Fd> CloneIdmapped(const std::string& directory, int user_namespace) {
  ASSIGN(Fd tree, CloneMount(directory));
  struct mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace);
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0) {
    return FailErrno(errno, fmt::format("id-mapping {}", directory));
  }
  return tree;
}

}  // namespace atl::sys
