// SPDX-License-Identifier: Apache-2.0
#include "oci/disk_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "oci/layer.h"
#include "oci/test_host.h"
#include "sys/fd.h"
#include "sys/loop.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint64_t kMiB = 1ULL << 20U;

using Parts = std::vector<uint64_t>;

TEST(DivideRoomTest, WhereThereIsEnoughEverybodyGetsAll) {
  Division division = DivideRoom(100, {10, 20, 30});
  EXPECT_EQ((Parts{10, 20, 30}), division.grants);
  EXPECT_EQ(40U, division.spare);
  EXPECT_TRUE(division.satisfied);
  EXPECT_TRUE(DivideRoom(60, {10, 20, 30}).satisfied);
  EXPECT_EQ(5U, DivideRoom(5, {}).spare);
}

TEST(DivideRoomTest, WhatIsShortIsNeverGivenTwice) {
  for (uint64_t room : {0ULL, 1ULL, 7ULL, 64ULL, 100ULL, 999ULL}) {
    for (const Parts& wants :
         {Parts{1000}, Parts{1, 1000, 500}, Parts{400, 400, 400}, Parts{0, 1000}}) {
      Division division = DivideRoom(room, wants);
      uint64_t sum = division.spare;
      for (size_t i = 0; i < wants.size(); ++i) {
        EXPECT_LE(division.grants[i], wants[i]);
        sum += division.grants[i];
      }
      EXPECT_EQ(room, sum);
      EXPECT_FALSE(division.satisfied);
    }
  }
}

TEST(DivideRoomTest, ThoseWhoNeedLittleGetItAndTheOthersAreEqual) {
  Division division = DivideRoom(800, {1000, 10, 1000});
  EXPECT_EQ(10U, division.grants[1]);
  EXPECT_NEAR(345, static_cast<double>(division.grants[0]), 1);
  EXPECT_NEAR(345, static_cast<double>(division.grants[2]), 1);
  EXPECT_GE(division.spare, 100U) << "of who comes next";
}

// A file system of 256 MiB, of which sandboxes get what is beyond a reserve.
class DiskGuardTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || Inside()) GTEST_SKIP() << "must be root";
    std::string pattern = "/tmp/atoll-guard-test.XXXXXX";
    base_ = ::mkdtemp(pattern.data());
    dir_ = base_ + "/disk";
    ASSERT_TRUE(sys::MakeDirs(dir_));
    std::string image = base_ + "/host.img";
    ASSERT_TRUE(sys::RunChecked({.argv = {"truncate", "-s", "256M", image}}));
    ASSERT_TRUE(sys::RunChecked({.argv = {"mkfs.ext4", "-q", "-F", "-m", "0", image}}));
    auto device = sys::AttachLoop(image);
    ASSERT_TRUE(device);
    auto mounted = sys::MountDevice(device->path, "ext4", dir_, "");
    if (!mounted) GTEST_SKIP() << mounted.error().message;
    disk_ = sys::Mount(dir_);
  }
  void TearDown() override {
    guard_.reset();
    (void)disk_.Detach();
    if (!base_.empty()) (void)sys::RemoveTree(base_);
  }

  Layers Guarded() {
    guard_ = std::make_unique<DiskGuard>(dir_, kReserve);
    Layers layers(dir_);
    layers.SetGuard(guard_.get());
    return layers;
  }
  uint64_t Free() const {
    struct statvfs host{};
    EXPECT_EQ(0, ::statvfs(dir_.c_str(), &host));
    return host.f_bavail * host.f_frsize;
  }
  // Megabytes until it is full, and all of them stored.
  static uint64_t Fill(const std::string& file) {
    auto fd = sys::Open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_TRUE(fd);
    std::string block(kMiB, 'x');
    uint64_t done = 0;
    while (::write(fd->get(), block.data(), block.size()) == static_cast<ssize_t>(block.size())) {
      ++done;
    }
    EXPECT_EQ(ENOSPC, errno);
    EXPECT_EQ(0, ::fsync(fd->get())) << "what was taken is stored";
    return done;
  }

  static constexpr uint64_t kReserve = 64 * kMiB;
  std::string base_;
  std::string dir_;
  sys::Mount disk_;
  std::unique_ptr<DiskGuard> guard_;
};

TEST_F(DiskGuardTest, ImagesThatPromiseMoreThanThereIsTakeNoMoreThanCanBeStored) {
  Layers layers = Guarded();
  uint64_t free = Free();
  auto one = layers.Open({.iid = "00000000000000d1", .disk_bytes = 1024 * kMiB});
  ASSERT_TRUE(one) << one.error().message;
  auto two = layers.Open({.iid = "00000000000000d2", .disk_bytes = 1024 * kMiB});
  ASSERT_TRUE(two) << two.error().message;
  uint64_t sum = 0;
  std::jthread other([&] { sum += Fill(two->dir() + "/file"); });
  uint64_t mine = Fill(one->dir() + "/file");
  other.join();
  sum += mine;
  EXPECT_GT(sum, 0U);
  EXPECT_LT(sum * kMiB, free);
  EXPECT_GT(Free(), kReserve / 4) << "the rest is the host's";
  for (const OpenLayer* layer : {&*one, &*two}) {
    auto content = sys::Open(layer->dir() + "/other", O_WRONLY | O_CREAT, 0600);
    EXPECT_TRUE(content) << "it is not read-only: " << content.error().message;
  }
  // Room that somebody gives back is everybody's again.
  ASSERT_EQ(0, ::unlink((two->dir() + "/file").c_str()));
  uint64_t more = 0;
  for (int i = 0; i < 100 && more < (sum - mine) / 4; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    more = Fill(one->dir() + "/more");
  }
  EXPECT_GE(more, (sum - mine) / 4);
}

TEST_F(DiskGuardTest, WhereThereIsRoomNothingIsWithheld) {
  Layers layers = Guarded();
  auto one = layers.Open({.iid = "00000000000000d1", .disk_bytes = 64 * kMiB});
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_GT(Fill(one->dir() + "/file"), 48U);
}

}  // namespace
}  // namespace atl::oci
