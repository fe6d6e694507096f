// SPDX-License-Identifier: Apache-2.0
// For tests: a launcher of its own with directories, cgroups and a tiny image of its own. The image
// holds what this very test program needs to run inside a sandbox as PID 1.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "oci/launcher.h"
#include "sys/mounts.h"
#include "sys/process.h"

namespace atl::oci {

class TestHost {
 public:
  TestHost() {
    std::string pattern = "/tmp/atoll-oci-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    ::chmod(dir_.c_str(), 0711);
    config_ = {.state_dir = dir_ + "/state",
               .run_dir = dir_ + "/run",
               .cgroup_root = fmt::format("atoll-test-{}", ::getpid()),
               .agent_binary = std::filesystem::read_symlink("/proc/self/exe").string()};
    MakeImage();
  }
  TestHost(const TestHost&) = delete;
  TestHost& operator=(const TestHost&) = delete;
  ~TestHost() {
    if (launcher_) {
      if (auto names = launcher_->cgroups().List()) {
        for (const std::string& iid : *names) (void)launcher_->Destroy(iid);
      }
      EXPECT_TRUE(launcher_->cgroups().RemoveRoot());
      EXPECT_TRUE(launcher_->trash().AwaitEmpty(std::chrono::seconds(30)));
      EXPECT_TRUE(sys::Unmount(dir_ + "/run/bin/agent", MNT_DETACH));
    }
    EXPECT_TRUE(sys::RemoveTree(dir_));
  }

  Launcher& launcher() {
    if (!launcher_) {
      auto opened = Launcher::Open(config_);
      if (!opened) {
        ADD_FAILURE() << opened.error().message;
        std::abort();
      }
      launcher_ = *std::move(opened);
    }
    return *launcher_;
  }
  // Before the first use of launcher().
  LauncherConfig& mutable_config() { return config_; }
  const LauncherConfig& config() const { return config_; }
  const std::string& dir() const { return dir_; }
  std::string image_rootfs() const { return config_.state_dir + "/images/tiny/rootfs"; }

  // A sandbox whose PID 1 runs the tests named by `filter` inside.
  LaunchSpec Spec(const std::string& iid, uint32_t id_base, const std::string& filter) {
    int pair[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    sockets_.emplace_back(pair[0]);
    sockets_.emplace_back(pair[1]);
    return {.iid = iid,
            .hostname = "demo",
            .image = "tiny",
            .id_base = id_base,
            .limits = {.memory_bytes = 256U << 20U, .cpus = 1, .pids = 64},
            .env = {"PATH=/bin", "ATOLL_INSIDE=1"},
            .agent_args = {"--gtest_filter=" + filter},
            .agent_socket = pair[0]};
  }

  std::string Log(const std::string& iid) {
    auto text = sys::ReadFile(launcher().RunDir(iid) + "/log");
    return text ? *text : text.error().message;
  }

  static bool WaitForEnd(const Launched& launched, int timeout_ms = 30'000) {
    pollfd wait{.fd = launched.pidfd.get(), .events = POLLIN};
    return ::poll(&wait, 1, timeout_ms) == 1;
  }

  bool WaitForLog(const std::string& iid, std::string_view text, int timeout_ms = 30'000) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (std::chrono::steady_clock::now() < end) {
      if (Log(iid).contains(text)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

 private:
  void MakeImage() {
    std::string root = image_rootfs();
    for (const char* dir :
         {"bin", "etc", "tmp", "root", "workspace", "dev", "proc", "sys", ".atoll"}) {
      std::filesystem::create_directories(root + "/" + dir);
    }
    std::filesystem::permissions(root + "/tmp", std::filesystem::perms(01777));
    std::string script = fmt::format(
        "cd '{}' && cp /bin/sh /bin/sleep bin/ && "
        "for f in $(ldd '{}' /bin/sh /bin/sleep | grep -o '/[^ ]*' | grep -v : | sort -u); do "
        "mkdir -p \".${{f%/*}}\" && cp -L \"$f\" \".$f\"; done; echo secret > etc/passwd",
        root, config_.agent_binary);
    auto made = sys::RunChecked({.argv = {"sh", "-c", script}});
    EXPECT_TRUE(made) << made.error().message;
  }

  std::string dir_;
  LauncherConfig config_;
  std::unique_ptr<Launcher> launcher_;
  std::vector<sys::Fd> sockets_;
};

inline bool Inside() { return ::getenv("ATOLL_INSIDE") != nullptr; }

#define ATOLL_NEEDS_ROOT()                                          \
  if (::geteuid() != 0 || Inside()) GTEST_SKIP() << "must be root"; \
  (void)0

}  // namespace atl::oci
