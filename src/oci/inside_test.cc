// SPDX-License-Identifier: Apache-2.0
// What launcher_test.cc runs inside a sandbox, as PID 1. Skipped anywhere else.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "oci/test_host.h"

namespace atl::oci {
namespace {

#define INSIDE() \
  if (!Inside()) GTEST_SKIP() << "runs inside a sandbox only"

std::string Read(const std::string& path) {
  auto text = sys::ReadFile(path);
  return text ? *text : "";
}

std::string StatusField(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
  }
  return "";
}

template <class Call>
int ErrnoOf(Call call) {
  errno = 0;
  return call() < 0 ? errno : 0;
}

TEST(Inside, IsRootOfItsOwnLittleWorld) {
  INSIDE();
  EXPECT_EQ(1, ::getpid());
  EXPECT_EQ(0U, ::getuid());
  EXPECT_EQ(0U, ::getgid());
  char name[65] = {};
  ::gethostname(name, sizeof(name));
  EXPECT_STREQ("demo", name);
  EXPECT_EQ("/workspace", std::filesystem::current_path().string());
  struct stat info{};
  ASSERT_EQ(0, ::stat("/etc/passwd", &info));
  EXPECT_EQ(0U, info.st_uid) << "files of the image belong to root";
  std::ofstream("/etc/passwd") << "changed";
  EXPECT_EQ("changed", Read("/etc/passwd"));
  std::ofstream("/workspace/file") << "made inside";
  std::ofstream("/tmp/file") << "made inside";
  EXPECT_EQ("made inside", Read("/tmp/file"));
  EXPECT_EQ(0, ::chown("/workspace/file", 1000, 1000));
}

TEST(Inside, HasFewPrivileges) {
  INSIDE();
  uint64_t held = std::stoull(StatusField("CapEff"), nullptr, 16);
  for (int capability : {CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_MKNOD}) {
    EXPECT_EQ(0U, held & (1ULL << capability)) << capability;
  }
  EXPECT_NE(0U, held & (1ULL << CAP_CHOWN));
  EXPECT_EQ(StatusField("CapEff"), StatusField("CapBnd"));
  EXPECT_EQ("1", StatusField("NoNewPrivs"));
  EXPECT_EQ("2", StatusField("Seccomp"));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::mount("none", "/tmp", "tmpfs", 0, nullptr); }));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::unshare(CLONE_NEWUSER); }));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::syscall(SYS_keyctl, 0, 0, 0, 0, 0); }));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::syscall(SYS_bpf, 0, nullptr, 0); }));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::syscall(SYS_add_key, "user", "a", "b", 1, -2); }));
  EXPECT_EQ(EPERM, ErrnoOf([] { return ::mknod("/tmp/node", S_IFBLK | 0600, 0x0800); }));
  EXPECT_EQ(ENOSYS, ErrnoOf([] { return ::syscall(SYS_clone3, nullptr, 0); }));
  EXPECT_EQ(ENOSYS, ErrnoOf([] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }));
  EXPECT_EQ(ENOSYS, ErrnoOf([] { return ::syscall(999); }));
  EXPECT_EQ(EPERM, ErrnoOf([] {
              return ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0);
            }));
  pid_t child = ::fork();
  ASSERT_GE(child, 0) << "an ordinary fork works";
  if (child == 0) ::_exit(7);
  int status = 0;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_EQ(7, WEXITSTATUS(status));
}

TEST(Inside, SeesNothingOfTheHost) {
  INSIDE();
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/timer_list"}) {
    if (::access(path, F_OK) == 0) EXPECT_EQ("", Read(path)) << path;
  }
  for (const char* path : {"/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness",
                           "/proc/sysrq-trigger", "/sys/power/state", "/sys/fs/cgroup/x"}) {
    EXPECT_NE(0, ErrnoOf([&] { return ::open(path, O_WRONLY | O_CREAT, 0600); })) << path;
  }
  EXPECT_EQ("1\n", Read("/proc/sys/net/ipv6/conf/all/disable_ipv6"));
  EXPECT_EQ("0\n", Read("/proc/sys/net/ipv4/ip_unprivileged_port_start"));
  int pids = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (std::isdigit(entry.path().filename().string()[0]) != 0) ++pids;
  }
  EXPECT_EQ(1, pids);
  std::vector<std::string> devices;
  for (const auto& entry : std::filesystem::directory_iterator("/dev")) {
    devices.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(devices, testing::IsSupersetOf({"null", "zero", "full", "random", "urandom", "tty",
                                              "pts", "ptmx", "shm", "mqueue", "fd"}));
  EXPECT_THAT(devices, testing::Not(testing::Contains("vda")));
  std::ofstream("/dev/null") << "x";
  int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_GE(terminal, 0) << "terminals work";
  // Its own program and tool may not be replaced.
  EXPECT_EQ(EROFS, ErrnoOf([] { return ::open("/.atoll/agent", O_WRONLY | O_TRUNC); }));
  EXPECT_EQ(0, ::access("/.atoll/agent", X_OK));
}

TEST(Inside, InheritsWhatItWasGiven) {
  INSIDE();
  struct stat info{};
  ASSERT_EQ(0, ::fstat(3, &info));
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  // cgroup.procs files: first those of the `agent` leaf, then as many of the `work` leaf.
  int end = 4;
  while (::fcntl(end, F_GETFD) >= 0 && ::fstat(end, &info) == 0 && S_ISREG(info.st_mode)) ++end;
  ASSERT_GT(end, 4);
  EXPECT_EQ(0, (end - 4) % 2);
  for (int fd = 4; fd < 4 + (end - 4) / 2; ++fd) {
    EXPECT_EQ(1, ::write(fd, "0", 1)) << "moving PID 1 to the agent leaf through " << fd;
  }
  std::printf("cgroups moved\n");
}

// Starts processes until none can be started; the host must not notice.
TEST(Inside, ForksUntilItCannot) {
  INSIDE();
  int started = 0;
  int err = 0;
  for (; started < 1000; ++started) {
    pid_t child = ::fork();
    if (child < 0) {
      err = errno;
      break;
    }
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
  }
  EXPECT_EQ(EAGAIN, err);
  EXPECT_EQ(63, started);
}

// A child takes more memory than there is; PID 1 goes on.
TEST(Inside, HogsMemory) {
  INSIDE();
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (int i = 0; i < 1024; ++i) {
      auto* block = static_cast<volatile char*>(std::malloc(1U << 20U));
      for (size_t at = 0; block != nullptr && at < (1U << 20U); at += 4096) block[at] = 1;
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

TEST(Inside, ZWaits) {
  INSIDE();
  std::printf("waiting\n");
  std::fflush(stdout);
  for (;;) ::pause();
}

}  // namespace
}  // namespace atl::oci
