// SPDX-License-Identifier: Apache-2.0
#include "oci/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <thread>

#include "sys/fd.h"
#include "sys/mounts.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

namespace fs = std::filesystem;

class ImageTest : public testing::Test {
 protected:
  ImageTest() {
    std::string pattern = "/tmp/atoll-image-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    store_ = ImageStore(dir_ + "/images");
  }
  ~ImageTest() override { fs::remove_all(dir_); }

  std::string Recipe(const std::string& body) {
    std::string dir = dir_ + "/recipe";
    fs::create_directories(dir);
    auto written = sys::WriteFile(dir + "/build.sh", "#!/bin/sh\nset -e\n" + body, 0755);
    EXPECT_TRUE(written);
    return dir;
  }

  int Entries() {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(dir_ + "/images")) {
      if (entry.path().filename() != ".lock") ++count;
    }
    return count;
  }

  static bool Soon(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  std::string dir_;
  ImageStore store_{""};
};

TEST_F(ImageTest, BuildsListsAndRemoves) {
  EXPECT_TRUE(store_.List()->empty());
  auto image = store_.Build("one", Recipe("mkdir -p $1/etc; echo hi > $1/etc/motd"), -1);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ("hi\n", *sys::ReadFile(image->rootfs + "/etc/motd"));
  auto found = store_.Find("one");
  ASSERT_TRUE(found);
  EXPECT_EQ(2U, found->files);
  EXPECT_EQ(20U, found->created.size()) << found->created;
  EXPECT_EQ(1U, store_.List()->size());
  EXPECT_EQ(Code::kAlreadyExists, store_.Build("one", Recipe("exit 0"), -1).error().code);
  ASSERT_TRUE(store_.Build("one", Recipe("mkdir -p $1; echo 2 > $1/two"), -1, true));
  EXPECT_FALSE(fs::exists(image->rootfs + "/etc"));
  EXPECT_EQ("2\n", *sys::ReadFile(image->rootfs + "/two"));
  ASSERT_TRUE(store_.Remove("one"));
  EXPECT_EQ(0, Entries());
  EXPECT_EQ("IMAGE_NOT_FOUND", store_.Remove("one").error().reason);
}

TEST_F(ImageTest, FailedBuildLeavesNothing) {
  auto image = store_.Build("one", Recipe("mkdir -p $1/etc; echo no such package >&2; exit 3"), -1);
  ASSERT_FALSE(image);
  EXPECT_EQ("IMAGE_BUILD_FAILED", image.error().reason);
  EXPECT_TRUE(image.error().message.contains("no such package")) << image.error().message;
  EXPECT_EQ(0, Entries());
  EXPECT_FALSE(store_.Build("one", Recipe("exit 0"), -1)) << "an empty root is no image";
  EXPECT_FALSE(store_.Build("one", dir_ + "/missing", -1));
  EXPECT_EQ(0, Entries());
}

TEST_F(ImageTest, RefusesNamesThatLeadElsewhere) {
  for (const char* name : {"", ".", "..", "a/b", "../x", ".hidden", "UPPER", "a b"}) {
    EXPECT_FALSE(IsImageName(name)) << name;
    EXPECT_EQ(Code::kInvalidArgument, store_.Build(name, dir_, -1).error().code) << name;
    EXPECT_EQ(Code::kNotFound, store_.Find(name).error().code) << name;
    EXPECT_EQ(Code::kNotFound, store_.Remove(name).error().code) << name;
  }
  EXPECT_FALSE(IsImageName(std::string(65, 'a')));
  EXPECT_TRUE(IsImageName("debian-12.1_x"));
}

TEST_F(ImageTest, LeavesALivingBuildAlone) {
  std::string recipe = Recipe("mkdir -p $1; echo x > $1/x; touch $1/../../../started; sleep 1");
  Result<Image> built = Fail(Code::kInternal, "not run");
  std::thread builder([&] { built = store_.Build("slow", recipe, -1); });
  while (!fs::exists(dir_ + "/started")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(store_.Stale()->empty());
  EXPECT_TRUE(store_.RemoveStale());
  EXPECT_FALSE(store_.Find("slow")) << "half an image is none";
  builder.join();
  EXPECT_TRUE(built) << built.error().message;
  EXPECT_TRUE(store_.Find("slow"));
  // What a builder that was killed leaves has nobody's lock.
  fs::create_directories(dir_ + "/images/.dead.123.tmp/rootfs");
  EXPECT_EQ(1U, store_.Stale()->size());
  EXPECT_TRUE(store_.RemoveStale());
  EXPECT_EQ(1, Entries());
}

// The builder dies by SIGKILL while its script sleeps with a mount in place and a child in the
// background.
TEST_F(ImageTest, KilledBuildLeavesNoProcessNoMountAndNothingForTheNext) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be root";
  std::string recipe = Recipe(
      "mkdir -p $1/mnt; mount -t tmpfs atoll-test $1/mnt; echo x > $1/mnt/x; "
      "(exec 9<$1/../../../recipe/build.sh; exec sleep 300) & touch $1/../../../started; sleep "
      "300");
  pid_t builder = ::fork();
  ASSERT_GE(builder, 0);
  if (builder == 0) {
    (void)store_.Build("cut", recipe, -1);
    ::_exit(1);
  }
  EXPECT_TRUE(Soon([&] { return fs::exists(dir_ + "/started"); }));
  EXPECT_TRUE(store_.Stale()->empty()) << "it is alive";
  ::kill(builder, SIGKILL);
  ASSERT_EQ(builder, ::waitpid(builder, nullptr, 0));
  // The last process that has the lock ends a moment later.
  ASSERT_TRUE(Soon([&] { return store_.Stale()->size() == 1; }));
  auto holders = sys::Run(
      {.argv = {"sh", "-c", "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c '" + dir_ + "/'"}});
  ASSERT_TRUE(holders);
  EXPECT_EQ("0\n", holders->out) << "a process of the build goes on";
  for (const sys::MountEntry& mount : *sys::ListMounts()) {
    EXPECT_FALSE(mount.target.starts_with(dir_)) << mount.target;
  }
  auto image = store_.Build("cut", Recipe("mkdir -p $1; echo 2 > $1/two"), -1);
  EXPECT_TRUE(image) << image.error().message;
  EXPECT_TRUE(store_.Stale()->empty());
  EXPECT_EQ(1, Entries()) << "the next build cleared it away";
  EXPECT_FALSE(fs::exists(dir_ + "/images/cut/rootfs/mnt"));
}

TEST_F(ImageTest, ReplacesOnlyWithPermission) {
  ASSERT_TRUE(store_.Build("one", Recipe("mkdir -p $1; echo 1 > $1/one"), -1));
  auto in_use = [] { return Result<void>(Fail(Code::kFailedPrecondition, "in use")); };
  auto image = store_.Build("one", Recipe("mkdir -p $1; echo 2 > $1/two"), -1, true, in_use);
  ASSERT_FALSE(image);
  EXPECT_EQ(Code::kFailedPrecondition, image.error().code);
  EXPECT_TRUE(fs::exists(dir_ + "/images/one/rootfs/one")) << "the former image stays";
  EXPECT_EQ(1, Entries());
}

// A daemon may start, and sweep, at any moment of a build or a removal.
TEST_F(ImageTest, SweepsBesideBuildsNeverTakeAFinishedImage) {
  std::atomic<bool> done = false;
  std::thread sweeper([&] {
    while (!done) EXPECT_TRUE(store_.RemoveStale());
  });
  std::string recipe =
      Recipe("mkdir -p $1/a/b/c; for i in 1 2 3 4 5 6 7 8; do echo x > $1/a/$i; done");
  for (int i = 0; i < 20; ++i) {
    auto image = store_.Build("one", recipe, -1, true);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_TRUE(fs::exists(image->rootfs + "/a/8"));
  }
  auto removed = store_.Remove("one");
  EXPECT_TRUE(removed) << removed.error().message;
  done = true;
  sweeper.join();
  EXPECT_EQ(0, Entries());
}

}  // namespace
}  // namespace atl::oci
