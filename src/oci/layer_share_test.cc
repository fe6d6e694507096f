// SPDX-License-Identifier: Apache-2.0
// Copies of layers on a file system that can share content: XFS, in an image file of the test's
// own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "oci/layer_copy.h"
#include "oci/test_host.h"
#include "sys/fd.h"
#include "sys/loop.h"
#include "sys/mounts.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint32_t kFrom = 0x10010000;
constexpr uint32_t kTo = 0x10050000;
constexpr off_t kDisk = 512LL << 20U;
constexpr size_t kLarge = 64UL << 20U;
constexpr off_t kSparse = 1LL << 34U;

class LayerShareTest : public testing::Test {
 protected:
  void SetUp() override {
    ATOLL_NEEDS_ROOT();
    std::string pattern = "/var/tmp/atoll-share-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    mount_ = dir_ + "/mount";
    ASSERT_EQ(0, ::mkdir(mount_.c_str(), 0700));
    std::string image = dir_ + "/disk.img";
    auto file = sys::Open(image, O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(file);
    ASSERT_EQ(0, ::ftruncate(file->get(), kDisk));
    sys::Command make{.argv = {"mkfs.xfs", "-q", "-m", "reflink=1", image}};
    if (auto made = sys::RunChecked(make); !made) {
      GTEST_SKIP() << "no XFS can be made (xfsprogs): " << made.error().message;
    }
    auto loop = sys::AttachLoop(image);
    if (!loop) GTEST_SKIP() << "there is no loop device: " << loop.error().message;
    if (auto mounted = sys::MountDevice(loop->path, "xfs", mount_, ""); !mounted) {
      GTEST_SKIP() << "this kernel mounts no XFS: " << mounted.error().message;
    }
    source_ = mount_ + "/source";
    target_ = mount_ + "/target";
    ASSERT_EQ(0, ::mkdir(source_.c_str(), 0755));
  }
  void TearDown() override {
    if (dir_.empty()) return;
    ::umount2(mount_.c_str(), MNT_DETACH);
    EXPECT_TRUE(sys::RemoveTree(dir_));
  }

  LayerCopyStats Copy() const {
    auto copy = LayerCopy::Open(
        {.source = source_, .target = target_, .source_base = kFrom, .target_base = kTo});
    EXPECT_TRUE(copy);
    auto stats = copy->Pass();
    EXPECT_TRUE(stats) << stats.error().message;
    return stats ? *stats : LayerCopyStats();
  }
  struct stat Stat(const std::string& path) const {
    struct stat info{};
    EXPECT_EQ(0, ::lstat(path.c_str(), &info)) << path;
    return info;
  }
  uint64_t Free() const {
    sys::Fd mount = *sys::Open(mount_, O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(0, ::syncfs(mount.get()));
    struct statvfs disk{};
    EXPECT_EQ(0, ::statvfs(mount_.c_str(), &disk));
    return disk.f_bfree * disk.f_frsize;
  }
  // How much of what a file has is another file's, too.
  static uint64_t SharedBytes(const std::string& path) {
    constexpr uint32_t kExtents = 256;
    std::vector<char> buffer(sizeof(fiemap) + kExtents * sizeof(fiemap_extent));
    auto* map = reinterpret_cast<fiemap*>(buffer.data());
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtents;
    sys::Fd file = *sys::Open(path, O_RDONLY);
    EXPECT_EQ(0, ::ioctl(file.get(), FS_IOC_FIEMAP, map)) << path;
    uint64_t shared = 0;
    for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0) shared += extent.fe_length;
    }
    return shared;
  }

  std::string dir_;
  std::string mount_;
  std::string source_;
  std::string target_;
};

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  uint64_t state = 88172645463325252ULL;
  for (size_t at = 0; at + 8 <= size; at += 8) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    std::memcpy(&text[at], &state, 8);
  }
  return text;
}

TEST_F(LayerShareTest, ContentIsSharedAndEverythingElseIsTheCopysOwn) {
  const std::string text = Pattern(kLarge);
  const std::string large = source_ + "/large";
  ASSERT_TRUE(sys::WriteFile(large, text, 0640));
  ASSERT_EQ(0, ::chown(large.c_str(), kFrom + 1000, kFrom + 7));
  ASSERT_EQ(0, ::chmod(large.c_str(), 04750));
  ASSERT_EQ(0, ::setxattr(large.c_str(), "user.note", "mine", 4, 0));
  ASSERT_EQ(0, ::link(large.c_str(), (source_ + "/other name").c_str()));
  ASSERT_TRUE(sys::WriteFile(source_ + "/empty", ""));
  ASSERT_TRUE(sys::WriteFile(source_ + "/small", "a few bytes"));
  auto sparse = sys::Open(source_ + "/sparse", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(sparse);
  ASSERT_EQ(4, ::pwrite(sparse->get(), "data", 4, kSparse / 2));
  ASSERT_EQ(0, ::ftruncate(sparse->get(), kSparse));
  const uint64_t before = Free();

  LayerCopyStats stats = Copy();

  EXPECT_TRUE(stats.shared);
  EXPECT_LT(before - Free(), kLarge / 8) << "the copy takes no room";
  const std::string copy = target_ + "/large";
  EXPECT_EQ(kLarge, SharedBytes(copy));
  auto copied = sys::ReadFile(copy, 2 * kLarge);
  ASSERT_TRUE(copied);
  EXPECT_TRUE(*copied == text);
  struct stat info = Stat(copy);
  EXPECT_EQ(kTo + 1000, info.st_uid);
  EXPECT_EQ(kTo + 7, info.st_gid);
  EXPECT_EQ(04750U, info.st_mode & 07777U);
  EXPECT_EQ(2U, info.st_nlink);
  EXPECT_EQ(info.st_ino, Stat(target_ + "/other name").st_ino);
  EXPECT_NE(info.st_ino, Stat(large).st_ino);
  char value[16];
  EXPECT_EQ(4, ::getxattr(copy.c_str(), "user.note", value, sizeof(value)));
  EXPECT_EQ(0, Stat(target_ + "/empty").st_size);
  EXPECT_EQ("a few bytes", *sys::ReadFile(target_ + "/small"));
  struct stat holes = Stat(target_ + "/sparse");
  EXPECT_EQ(kSparse, holes.st_size);
  EXPECT_LT(holes.st_blocks, 1024);
  auto read = sys::Open(target_ + "/sparse", O_RDONLY);
  ASSERT_TRUE(read);
  char data[4];
  ASSERT_EQ(4, ::pread(read->get(), data, 4, kSparse / 2));
  EXPECT_EQ("data", std::string(data, 4));

  // What one writes the other does not see.
  auto mine = sys::Open(copy, O_RDWR);
  ASSERT_TRUE(mine);
  ASSERT_EQ(4, ::pwrite(mine->get(), "new!", 4, 0));
  EXPECT_EQ(text.substr(0, 8), sys::ReadFile(large, 2 * kLarge)->substr(0, 8));
  EXPECT_EQ("new!", sys::ReadFile(copy, 2 * kLarge)->substr(0, 4));
  EXPECT_LT(SharedBytes(copy), kLarge);
  EXPECT_GT(SharedBytes(copy), kLarge / 2);
}

TEST_F(LayerShareTest, ALaterPassSharesWhatHasChanged) {
  ASSERT_TRUE(sys::WriteFile(source_ + "/same", Pattern(1U << 20U)));
  ASSERT_TRUE(sys::WriteFile(source_ + "/file", Pattern(1U << 20U)));
  std::this_thread::sleep_for(std::chrono::milliseconds(80));
  auto copy = LayerCopy::Open(
      {.source = source_, .target = target_, .source_base = kFrom, .target_base = kTo});
  ASSERT_TRUE(copy && copy->Pass());
  const std::string changed = "changed " + Pattern(2U << 20U);
  ASSERT_TRUE(sys::WriteFile(source_ + "/file", changed));
  auto stats = copy->Pass();
  ASSERT_TRUE(stats);
  EXPECT_TRUE(stats->shared);
  EXPECT_EQ(changed.size(), stats->bytes);
  EXPECT_EQ(changed, *sys::ReadFile(target_ + "/file", 2 * kLarge));
  EXPECT_EQ(1UL << 20U, SharedBytes(target_ + "/same"));
}

}  // namespace
}  // namespace atl::oci
