// SPDX-License-Identifier: Apache-2.0
#include "oci/launcher.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "oci/bundle.h"
#include "oci/rootfs.h"
#include "oci/seccomp.h"
#include "oci/test_host.h"
#include "sys/idmap.h"
#include "sys/namespace.h"

namespace atl::oci {
namespace {

constexpr char kFirst[] = "00000000000000a1";
constexpr char kSecond[] = "00000000000000a2";
constexpr uint32_t kBase = 0x10000000;

// Threads of gtest do not exist yet when environments are set up.
class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0 || Inside()) return;
    auto entered = sys::EnterPrivateMountNamespace();
    ASSERT_TRUE(entered) << entered.error().message;
  }
};
const auto* const kPrivateMounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

std::set<std::string> MountTargets(const std::string& below) {
  std::set<std::string> targets;
  auto mounts = sys::ListMounts();
  EXPECT_TRUE(mounts);
  for (const auto& mount : *mounts) {
    if (mount.target.starts_with(below)) targets.insert(mount.target);
  }
  return targets;
}

TEST(Launcher, SandboxIsWhatItShouldBe) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  auto launched = host.launcher().Launch(host.Spec(
      kFirst, kBase,
      "Inside.IsRoot*:Inside.HasFew*:Inside.SeesNothing*:Inside.InheritsWhat*:Inside.ZWaits"));
  ASSERT_TRUE(launched) << launched.error().message;
  ASSERT_TRUE(host.WaitForLog(kFirst, "waiting\n")) << host.Log(kFirst);
  EXPECT_FALSE(host.Log(kFirst).contains("FAILED")) << host.Log(kFirst);

  // As the host sees it.
  for (const char* kind : {"user", "pid", "mnt", "ipc", "uts", "net", "cgroup"}) {
    auto inside = sys::NamespaceId(launched->pid, kind);
    auto outside = sys::NamespaceId(::getpid(), kind);
    ASSERT_TRUE(inside && outside);
    EXPECT_NE(*inside, *outside) << kind;
  }
  struct stat info{};
  ASSERT_EQ(0, ::stat(fmt::format("/proc/{}/root/workspace", launched->pid).c_str(), &info));
  std::string layer = host.launcher().LayerDir(kFirst);
  ASSERT_EQ(0, ::stat((layer + "/upper/etc/passwd").c_str(), &info));
  EXPECT_EQ(kBase, info.st_uid);
  ASSERT_EQ(0, ::stat((layer + "/upper/workspace/file").c_str(), &info));
  EXPECT_EQ(kBase + 1000, info.st_uid);
  EXPECT_EQ("secret\n", *sys::ReadFile(host.image_rootfs() + "/etc/passwd"));
  EXPECT_FALSE(std::filesystem::exists(host.image_rootfs() + "/tmp/file"));
  auto status = sys::ReadFile(fmt::format("/proc/{}/status", launched->pid));
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->contains(fmt::format("Uid:\t{}\t", kBase))) << *status;

  // The mount is gone here and still there for the sandbox.
  EXPECT_TRUE(MountTargets(host.config().run_dir + "/sandboxes").empty());
  EXPECT_EQ("changed", *sys::ReadFile(fmt::format("/proc/{}/root/etc/passwd", launched->pid)));

  auto adopted = host.launcher().Adopt(kFirst);
  ASSERT_TRUE(adopted) << adopted.error().message;
  EXPECT_EQ(launched->pid, adopted->pid);

  ASSERT_TRUE(host.launcher().Stop(kFirst));
  EXPECT_TRUE(TestHost::WaitForEnd(*launched, 1000));
  EXPECT_TRUE(std::filesystem::exists(layer));
  EXPECT_EQ(Code::kNotFound, host.launcher().Adopt(kFirst).error().code);
  // Started again it finds its files.
  auto again = host.launcher().Launch(host.Spec(kFirst, kBase, "Inside.ZWaits"));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ("changed", *sys::ReadFile(fmt::format("/proc/{}/root/etc/passwd", again->pid)));
  auto destroyed = host.launcher().Destroy(kFirst);
  ASSERT_TRUE(destroyed) << destroyed.error().message;
  EXPECT_FALSE(std::filesystem::exists(layer));
  EXPECT_FALSE(std::filesystem::exists(host.launcher().RunDir(kFirst)));
  EXPECT_TRUE(host.launcher().cgroups().List()->empty());
  EXPECT_TRUE(host.launcher().runtime().List()->empty());
  EXPECT_TRUE(host.launcher().Destroy(kFirst)) << "twice is once";
}

TEST(Launcher, MovesPidOneOutOfTheLimits) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  auto launched =
      host.launcher().Launch(host.Spec(kFirst, kBase, "Inside.InheritsWhat*:Inside.ZWaits"));
  ASSERT_TRUE(launched) << launched.error().message;
  ASSERT_TRUE(host.WaitForLog(kFirst, "waiting\n")) << host.Log(kFirst);
  auto groups = sys::ReadFile(fmt::format("/proc/{}/cgroup", launched->pid));
  ASSERT_TRUE(groups);
  EXPECT_TRUE(groups->contains(fmt::format("{}/agent\n", kFirst))) << *groups;
  EXPECT_FALSE(groups->contains(fmt::format("{}/work\n", kFirst))) << *groups;
}

TEST(Launcher, ForkBombStopsAtItsLimit) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  auto launched =
      host.launcher().Launch(host.Spec(kFirst, kBase, "Inside.ForksUntil*:Inside.ZWaits"));
  ASSERT_TRUE(launched) << launched.error().message;
  ASSERT_TRUE(host.WaitForLog(kFirst, "waiting\n")) << host.Log(kFirst);
  EXPECT_FALSE(host.Log(kFirst).contains("FAILED")) << host.Log(kFirst);
  auto usage = host.launcher().CgroupOf(kFirst).Usage();
  ASSERT_TRUE(usage);
  EXPECT_EQ(64U, usage->pids);
  auto destroyed = host.launcher().Destroy(kFirst);
  EXPECT_TRUE(destroyed) << destroyed.error().message;
}

TEST(Launcher, MemoryHogDiesAlone) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  auto launched = host.launcher().Launch(host.Spec(kFirst, kBase, "Inside.Hogs*:Inside.ZWaits"));
  ASSERT_TRUE(launched) << launched.error().message;
  ASSERT_TRUE(host.WaitForLog(kFirst, "waiting\n")) << host.Log(kFirst);
  EXPECT_FALSE(host.Log(kFirst).contains("FAILED")) << host.Log(kFirst);
  auto usage = host.launcher().CgroupOf(kFirst).Usage();
  ASSERT_TRUE(usage);
  EXPECT_EQ(1U, usage->oom_kills);
  EXPECT_LT(usage->memory_bytes, 256U << 20U);
  EXPECT_GT(usage->memory_bytes, 0U);
}

TEST(Launcher, TwoAtOnceDoNotMeet) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  Launcher& launcher = host.launcher();
  LaunchSpec first = host.Spec(kFirst, kBase, "Inside.ZWaits");
  LaunchSpec second = host.Spec(kSecond, kBase + 65536, "Inside.ZWaits");
  Result<Launched> one = Fail(Code::kInternal, "not run");
  Result<Launched> two = Fail(Code::kInternal, "not run");
  std::thread thread([&] { one = launcher.Launch(first); });
  two = launcher.Launch(second);
  thread.join();
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_TRUE(two) << two.error().message;
  for (const char* kind : {"user", "pid", "mnt", "ipc", "uts", "net", "cgroup"}) {
    EXPECT_NE(*sys::NamespaceId(one->pid, kind), *sys::NamespaceId(two->pid, kind)) << kind;
  }
  EXPECT_TRUE(launcher.Destroy(kFirst));
  EXPECT_EQ(two->pid, launcher.Adopt(kSecond)->pid) << "the other one lives on";
}

TEST(Launcher, FailureLeavesNothing) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  LaunchSpec spec = host.Spec(kFirst, kBase, "*");
  spec.image = "missing";
  auto launched = host.launcher().Launch(spec);
  ASSERT_FALSE(launched);
  EXPECT_EQ("IMAGE_NOT_FOUND", launched.error().reason);
  spec = host.Spec(kFirst, kBase, "*");
  spec.hostname = std::string(100, 'x');
  launched = host.launcher().Launch(spec);
  ASSERT_FALSE(launched) << "a name that the kernel refuses when most has been made already";
  EXPECT_TRUE(launched.error().message.contains("crun run")) << launched.error().message;
  EXPECT_TRUE(launched.error().message.contains("host")) << launched.error().message;
  EXPECT_TRUE(MountTargets(host.config().run_dir + "/sandboxes").empty());
  EXPECT_TRUE(host.launcher().cgroups().List()->empty());
  EXPECT_TRUE(host.launcher().runtime().List()->empty());
  EXPECT_FALSE(std::filesystem::exists(host.launcher().RunDir(kFirst)));
  for (const char* iid : {"", "..", "../../../../etc/x", "DEADBEEFDEADBEEF", "00000000000000a"}) {
    EXPECT_EQ(Code::kInvalidArgument, host.launcher().Destroy(iid).error().code);
  }
}

TEST(Launcher, RunsTheDefaultImage) {
  ATOLL_NEEDS_ROOT();
  const char* images = std::getenv("ATOLL_TEST_IMAGES");
  if (images == nullptr) GTEST_SKIP() << "set ATOLL_TEST_IMAGES to a directory of images";
  TestHost host;
  host.mutable_config().images_dir = images;
  host.mutable_config().agent_binary = "/bin/bash";
  LaunchSpec spec = host.Spec(kFirst, kBase, "");
  spec.image = "default";
  spec.limits = {.memory_bytes = 1U << 30U, .cpus = 2, .pids = 256};
  spec.env = {"PATH=/usr/bin:/bin", "HOME=/root"};
  spec.agent_args = {"-c",
                     "node -e 'console.log(6 * 7)'; git init -q /workspace/r && ls -d /workspace/r;"
                     "python3 -c 'print(\"py\", 1 + 1)'; echo x | sort; touch /etc/y && echo over;"
                     "sleep 100"};
  auto launched = host.launcher().Launch(spec);
  ASSERT_TRUE(launched) << launched.error().message;
  EXPECT_TRUE(host.WaitForLog(kFirst, "over\n")) << host.Log(kFirst);
  for (const char* line : {"42\n", "/workspace/r\n", "py 2\n", "x\n"}) {
    EXPECT_TRUE(host.Log(kFirst).contains(line)) << host.Log(kFirst);
  }
}

// The same bundle by crun alone, as a shell would run it; the mount is made beforehand.
void RunBare(TestHost& host, std::map<std::string, std::vector<double>>& costs) {
  using Ms = std::chrono::duration<double, std::milli>;
  Launcher& launcher = host.launcher();
  std::string run_dir = launcher.RunDir(kSecond);
  auto users = sys::MakeUserNamespace({.base = kBase + 65536});
  ASSERT_TRUE(users);
  auto rootfs = MountRootfs({.image_rootfs = host.image_rootfs(),
                             .layer = launcher.LayerDir(kSecond),
                             .target = run_dir + "/rootfs",
                             .id_base = kBase + 65536,
                             .user_namespace = users->get()});
  auto filter = LoadSeccomp(std::string(kSeccompProfile), host.dir() + "/seccomp");
  ASSERT_TRUE(rootfs && filter);
  BundleSpec bundle{.iid = kSecond,
                    .hostname = "demo",
                    .rootfs = run_dir + "/rootfs",
                    .user_namespace = fmt::format("/proc/{}/fd/{}", ::getpid(), users->get()),
                    .agent_binary = host.config().run_dir + "/bin/agent",
                    .agent_args = {"--gtest_filter=Inside.ZWaits"},
                    .env = {"PATH=/bin", "ATOLL_INSIDE=1"},
                    .cgroups_path = launcher.CgroupOf(kSecond).work_path(),
                    .seccomp_bpf_base64 = *filter};
  ASSERT_TRUE(WriteBundle(run_dir + "/bundle", bundle));
  auto null = sys::Open("/dev/null", O_RDWR);
  std::string root = host.config().run_dir + "/crun";
  auto start = std::chrono::steady_clock::now();
  auto ran =
      sys::Run({.argv = {"crun", "--root", root, "run", "-d", "-b", run_dir + "/bundle", kSecond},
                .stdout_fd = null->get(),
                .stderr_fd = null->get()});
  auto middle = std::chrono::steady_clock::now();
  ASSERT_TRUE(ran && ran->exit_code == 0);
  ASSERT_TRUE(sys::RunChecked({.argv = {"crun", "--root", root, "delete", "-f", kSecond}}));
  auto end = std::chrono::steady_clock::now();
  costs["bare crun run"].push_back(Ms(middle - start).count());
  costs["bare crun delete"].push_back(Ms(end - middle).count());
  rootfs->Release();
  ASSERT_TRUE(launcher.Stop(kSecond));
}

// Not a test of speed: prints what the phases cost where somebody asks for it.
TEST(Launcher, Cost) {
  ATOLL_NEEDS_ROOT();
  const char* wanted = std::getenv("ATOLL_COST");
  if (wanted == nullptr) GTEST_SKIP() << "set ATOLL_COST to a number of rounds";
  TestHost host;
  std::map<std::string, std::vector<double>> costs;
  for (int round = 0; round < std::atoi(wanted); ++round) {
    ASSERT_NO_FATAL_FAILURE(RunBare(host, costs));
    LaunchSpec spec = host.Spec(kFirst, kBase, "Inside.ZWaits");
    auto start = std::chrono::steady_clock::now();
    auto launched = host.launcher().Launch(spec);
    auto middle = std::chrono::steady_clock::now();
    ASSERT_TRUE(launched) << launched.error().message;
    ASSERT_TRUE(host.launcher().Stop(kFirst));
    auto end = std::chrono::steady_clock::now();
    using Ms = std::chrono::duration<double, std::milli>;
    for (const auto& [name, ms] : launched->phases) costs[name].push_back(ms);
    costs["= launch"].push_back(Ms(middle - start).count());
    costs["= stop"].push_back(Ms(end - middle).count());
  }
  for (auto& [name, values] : costs) {
    std::ranges::sort(values);
    fmt::print("{:16} best {:7.2f} median {:7.2f} p90 {:7.2f} ms\n", name, values.front(),
               values[values.size() / 2], values[values.size() * 9 / 10]);
  }
}

}  // namespace
}  // namespace atl::oci
