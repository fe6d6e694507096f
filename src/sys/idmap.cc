// SPDX-License-Identifier: Apache-2.0
#include "sys/idmap.h"

#include <fmt/format.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>

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

  Result<void> Start(uid_t owner) {
    int err = 0;
    try {
      // Ids and securebits are a thread's own for the kernel. This one ends with them, and with it
      // the process that it has made, which shows its namespace until somebody waits for it.
      std::thread([&] { err = StartAs(owner); }).join();
    } catch (const std::system_error& failure) {
      return Fail(Code::kResourceExhausted, fmt::format("starting a thread: {}", failure.what()));
    }
    if (err != 0) return FailErrno(err, "making a user namespace");
    return {};
  }

  pid_t pid() const { return pid_; }

 private:
  int StartAs(uid_t owner) {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    int dumpable = ::prctl(PR_GET_DUMPABLE);
    // The effective id alone makes the owner. The capabilities stay, where making namespaces needs
    // them; the real id too, so that root's limit of processes, which is none, becomes that of the
    // namespace. The C library's seteuid would change every thread.
    if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0) return errno;
    if (::syscall(SYS_setresuid, -1, owner, -1) < 0) return errno;
    pid_ = ::clone(&WaitForDeath, stack_.data() + stack_.size(), CLONE_VM | CLONE_NEWUSER, nullptr);
    int err = pid_ < 0 ? errno : 0;
    // Another id has made the whole process one that leaves no core.
    if (dumpable == 1) ::prctl(PR_SET_DUMPABLE, 1);
    return err;
  }

  alignas(16) std::array<char, 16384> stack_;
  pid_t pid_ = -1;
};

}  // namespace

Result<Fd> MakeUserNamespace(IdRange range) {
  NamespaceHolder holder;
  TRY(holder.Start(range.base));
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
