// SPDX-License-Identifier: Apache-2.0
#include "oci/layer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "oci/disk_image.h"
#include "oci/leaks.h"
#include "oci/test_host.h"
#include "sys/loop.h"
#include "sys/quota.h"

namespace atl::oci {
namespace {

constexpr char kIid[] = "00000000000000c1";
constexpr uint32_t kBase = 0x10000000;
constexpr uint64_t kDisk = 64ULL << 20U;

// Writes zeros until `bytes` are there or the disk is full; how many there are.
uint64_t Fill(const std::string& file, uint64_t bytes, int& error) {
  auto fd = sys::Open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  EXPECT_TRUE(fd) << fd.error().message;
  std::string block(1U << 20U, 'x');
  uint64_t done = 0;
  error = 0;
  while (done < bytes) {
    ssize_t n = ::write(fd->get(), block.data(), block.size());
    if (n < 0) {
      error = errno;
      break;
    }
    done += static_cast<uint64_t>(n);
  }
  if (error == 0 && ::fsync(fd->get()) < 0) error = errno;
  return done;
}

std::vector<std::string> LoopsBelow(const std::string& dir) {
  std::vector<std::string> found;
  for (const sys::LoopInUse& loop : sys::ListLoops()) {
    if (loop.file.starts_with(dir)) found.push_back(loop.path);
  }
  return found;
}

bool LoopsEnd(const std::string& dir) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < end) {
    if (LoopsBelow(dir).empty()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

class LayerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || Inside()) GTEST_SKIP() << "must be root";
    std::string pattern = "/tmp/atoll-layer-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    if (!dir_.empty()) EXPECT_TRUE(sys::RemoveTree(dir_));
  }
  std::string dir_;
};

TEST_F(LayerTest, WithoutALimitItIsADirectory) {
  Layers layers(dir_);
  EXPECT_FALSE(layers.Exists(kIid));
  auto layer = layers.Open({.iid = kIid, .id_base = kBase});
  ASSERT_TRUE(layer) << layer.error().message;
  EXPECT_EQ(layers.Dir(kIid), layer->dir());
  ASSERT_TRUE(sys::MakeDirs(layer->dir() + "/upper/a/b"));
  ASSERT_TRUE(sys::WriteFile(layer->dir() + "/upper/a/b/file", std::string(100'000, 'x')));
  EXPECT_TRUE(layers.Exists(kIid));
  auto usage = layers.Usage(kIid, 0, 1000);
  ASSERT_TRUE(usage) << usage.error().message;
  EXPECT_EQ(3U, usage->inodes);
  EXPECT_GE(usage->bytes, 100'000U);
  EXPECT_TRUE(usage->complete);
  usage = layers.Usage(kIid, 0, 2);
  ASSERT_TRUE(usage);
  EXPECT_FALSE(usage->complete);
  EXPECT_TRUE(layers.Remove(kIid));
  EXPECT_FALSE(layers.Exists(kIid));
}

TEST_F(LayerTest, ALimitHoldsAndIsGoneWithTheLayer) {
  Layers layers(dir_);
  {
    auto layer = layers.Open({.iid = kIid, .id_base = kBase, .disk_bytes = kDisk, .inodes = 500});
    ASSERT_TRUE(layer) << layer.error().message;
    ASSERT_TRUE(sys::MakeDirs(layer->dir() + "/upper"));
    ASSERT_TRUE(sys::WriteFile(layer->dir() + "/upper/kept", "kept"));
    int error = 0;
    EXPECT_LT(Fill(layer->dir() + "/upper/big", 2 * kDisk, error), kDisk);
    EXPECT_TRUE(error == ENOSPC || error == EDQUOT) << error;
    ASSERT_EQ(0, ::unlink((layer->dir() + "/upper/big").c_str()));
    int made = 0;
    while (made < 5000 && sys::WriteFile(fmt::format("{}/upper/{}", layer->dir(), made), ""))
      ++made;
    EXPECT_GT(made, 400);
    EXPECT_LT(made, 1000);
  }
  EXPECT_TRUE(layers.Exists(kIid));
  // As another daemon finds it, twice at a time.
  Layers later(dir_);
  {
    auto one = later.Open({.iid = kIid, .id_base = kBase, .disk_bytes = kDisk, .inodes = 500});
    auto two = later.Show(kIid);
    ASSERT_TRUE(one && two) << (one ? two : one).error().message;
    EXPECT_EQ("kept", *sys::ReadFile(two->dir() + "/upper/kept"));
    EXPECT_EQ("kept", *sys::ReadFile(one->dir() + "/upper/kept"));
    EXPECT_LE(LoopsBelow(dir_).size(), 1U);
  }
  EXPECT_TRUE(later.Remove(kIid));
  EXPECT_TRUE(LoopsEnd(dir_));
  EXPECT_FALSE(std::filesystem::exists(later.Dir(kIid)));
}

TEST_F(LayerTest, AFileIsShownByOneDevice) {
  std::string image = dir_ + "/image";
  ASSERT_TRUE(MakeDiskImage(image, {.bytes = kDisk}));
  EXPECT_FALSE(std::filesystem::exists(image + ".tmp"));
  {
    auto one = sys::AttachLoop(image);
    auto two = sys::AttachLoop(image);
    ASSERT_TRUE(one && two) << one.error().message;
    EXPECT_TRUE(one->fresh);
    EXPECT_FALSE(two->fresh);
    EXPECT_EQ(one->path, two->path);
  }
  EXPECT_TRUE(LoopsEnd(dir_));
}

TEST_F(LayerTest, ADamagedImageIsMended) {
  std::string image = dir_ + "/image";
  std::string target = dir_ + "/target";
  ASSERT_TRUE(sys::MakeDirs(target));
  ASSERT_TRUE(MakeDiskImage(image, {.bytes = 256ULL << 20U}));
  {
    auto mount = MountDiskImage(image, target);
    ASSERT_TRUE(mount) << mount.error().message;
    ASSERT_TRUE(sys::WriteFile(target + "/file", "kept"));
  }
  ASSERT_TRUE(LoopsEnd(dir_));
  auto fd = sys::Open(image, O_WRONLY);
  ASSERT_TRUE(fd);
  std::string zeros(1024, '\0');
  ASSERT_EQ(1024, ::pwrite(fd->get(), zeros.data(), zeros.size(), 1024)) << "its superblock";
  auto mount = MountDiskImage(image, target);
  ASSERT_TRUE(mount) << mount.error().message;
  EXPECT_EQ("kept", *sys::ReadFile(target + "/file"));
}

TEST_F(LayerTest, WhatIsNoImageIsRefused) {
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/target"));
  ASSERT_TRUE(sys::WriteFile(dir_ + "/image", std::string(1U << 20U, 'x')));
  auto mount = MountDiskImage(dir_ + "/image", dir_ + "/target");
  ASSERT_FALSE(mount);
  EXPECT_TRUE(mount.error().message.contains("e2fsck")) << mount.error().message;
  auto made = MakeDiskImage(dir_ + "/tiny", {.bytes = 4096});
  ASSERT_FALSE(made);
  EXPECT_TRUE(made.error().message.contains("mkfs.ext4")) << made.error().message;
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/tiny"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/tiny.tmp"));
}

// Where the file system of the tests has them.
TEST_F(LayerTest, ProjectQuota) {
  auto probed = sys::ProbeProjectQuota(dir_, 0x0FFFFFFE);
  EXPECT_TRUE(std::filesystem::is_empty(dir_)) << "the probe removes what it made";
  if (!probed) GTEST_SKIP() << probed.error().message;
  Layers layers(dir_);
  EXPECT_EQ(DiskLimitKind::kQuota, layers.kind());
  auto layer = layers.Open({.iid = kIid, .id_base = kBase, .disk_bytes = kDisk});
  ASSERT_TRUE(layer) << layer.error().message;
  EXPECT_EQ(kBase, *sys::ProjectOf(layer->dir()));
  int error = 0;
  Fill(layer->dir() + "/file", kDisk / 2, error);
  EXPECT_GE(layers.Usage(kIid, 0, 0)->bytes, kDisk / 2);
}

TEST(LeaksOfImages, ADeviceThatNobodyNeedsIsNamedAndFreed) {
  ATOLL_NEEDS_ROOT();
  TestHost host;
  Launcher& launcher = host.launcher();
  if (launcher.layers().kind() != DiskLimitKind::kImage) GTEST_SKIP() << "there are no images";
  auto layer = launcher.layers().Open({.iid = kIid, .id_base = kBase, .disk_bytes = kDisk});
  ASSERT_TRUE(layer) << layer.error().message;
  layer->Release();  // a daemon that was killed in the middle of a launch
  auto leaks = FindLeaks(host.config(), {kIid}, {});
  ASSERT_TRUE(leaks) << leaks.error().message;
  std::set<std::string> kinds;
  for (const Leak& leak : *leaks) kinds.insert(leak.kind);
  EXPECT_EQ((std::set<std::string>{"mount", "loop"}), kinds);
  ASSERT_TRUE(RemoveLeaks(launcher, host.config(), {kIid}, {}));
  EXPECT_TRUE(FindLeaks(host.config(), {kIid}, {})->empty());
  EXPECT_TRUE(launcher.layers().Exists(kIid)) << "it may start again";
  ASSERT_TRUE(RemoveLeaks(launcher, host.config(), {}, {}));
  EXPECT_FALSE(launcher.layers().Exists(kIid));
}

}  // namespace
}  // namespace atl::oci
