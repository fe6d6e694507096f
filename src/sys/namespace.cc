// SPDX-License-Identifier: Apache-2.0
#include "sys/namespace.h"

#include <fmt/format.h>
#include <linux/limits.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <thread>

namespace atl::sys {

Result<Fd> OpenNamespace(pid_t pid, std::string_view kind) {
  return Open(fmt::format("/proc/{}/ns/{}", pid, kind), O_RDONLY);
}

Result<std::string> NamespaceId(pid_t pid, std::string_view kind) {
  std::string path = fmt::format("/proc/{}/ns/{}", pid, kind);
  std::array<char, 256> target;
  ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  if (n < 0) return FailErrno(errno, fmt::format("reading {}", path));
  return std::string(target.data(), static_cast<size_t>(n));
}

namespace {

// Runs `function` to its end on a fresh thread inside the namespace.
Result<void> RunInside(int fd, int kind, const char* what, const std::function<void()>& function) {
  int err = 0;
  std::exception_ptr thrown;
  try {
    std::thread([&] {
      // Root and working directory are shared by threads, and belong to a mount namespace.
      bool apart = kind != CLONE_NEWNS || ::unshare(CLONE_FS) == 0;
      if (!apart || ::setns(fd, kind) < 0) {
        err = errno;
        return;
      }
      try {
        function();
      } catch (...) {
        thrown = std::current_exception();
      }
    }).join();
  } catch (const std::system_error& failure) {
    return Fail(Code::kResourceExhausted, fmt::format("starting a thread: {}", failure.what()));
  }
  if (err != 0) return FailErrno(err, fmt::format("entering {}", what));
  if (thrown) std::rethrow_exception(thrown);
  return {};
}

}  // namespace

Result<void> RunInNetworkNamespaceErased(int net_namespace, const std::function<void()>& function) {
  return RunInside(net_namespace, CLONE_NEWNET, "a network namespace", function);
}

Result<void> RunInMountNamespaceErased(int pidfd, const std::function<void()>& function) {
  return RunInside(pidfd, CLONE_NEWNS, "a sandbox's mount namespace", function);
}

Result<std::string> HostnameOf(int pidfd) {
  utsname names{};
  TRY(RunInside(pidfd, CLONE_NEWUTS, "a sandbox's host name", [&] { ::uname(&names); }));
  return std::string(&names.nodename[0]);
}

Result<void> SetHostname(int pidfd, const std::string& name) {
  int err = 0;
  TRY(RunInside(pidfd, CLONE_NEWUTS, "a sandbox's host name", [&] {
    if (::sethostname(name.data(), name.size()) != 0) err = errno;
  }));
  if (err != 0) return FailErrno(err, fmt::format("give a sandbox the host name {}", name));
  return {};
}

}  // namespace atl::sys
