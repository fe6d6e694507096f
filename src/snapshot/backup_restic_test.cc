// SPDX-License-Identifier: Apache-2.0
// What Atoll wrote, restic checks and restores; what restic wrote is a parent.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "snapshot/backup_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::Contains;
using testing::Key;
using testing::Lt;
using testing::Not;

class BackupResticTest : public BackupTest {
 protected:
  void SetUp() override {
    if (!HasRestic()) GTEST_SKIP() << "restic is not installed";
    BackupTest::SetUp();
  }
};

void SetTimes(const fs::path& path, int64_t seconds, long nanos) {
  timespec times[2] = {{seconds, nanos}, {seconds, nanos}};
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

TEST_F(BackupResticTest, GivesEverythingBack) {
  fs::create_directories(work_ / "a/b/c");
  Write(work_ / "a/small", "hello");
  Write(work_ / "a/empty", "");
  Write(work_ / "a/exact", Noise(512 << 10, 1));
  Write(work_ / "a/b/large", Noise(20'000'000, 2));
  Write(work_ / "a/b/zeros", std::string(3'000'000, '\0') + "x" + std::string(700'000, '\0'));
  Write(work_ / "a/b/c/setuid", "s");
  chmod((work_ / "a/b/c/setuid").c_str(), 04755);
  Write(work_ / "private", "p");
  chmod((work_ / "private").c_str(), 0600);
  EXPECT_EQ(lchown((work_ / "private").c_str(), 1000, 1001), 0);
  fs::create_symlink("a/b/large", work_ / "link");
  fs::create_symlink("/nowhere/at all", work_ / "dangling");
  fs::create_hard_link(work_ / "a/small", work_ / "hard");
  Write(work_ / "not utf-8 \xff\xfe\n\"\\", "n");
  Write(work_ / "h\xc3\xa9llo \xe2\x82\xac", "u");
  EXPECT_EQ(mkfifo((work_ / "fifo").c_str(), 0640), 0);
  EXPECT_EQ(setxattr((work_ / "a/small").c_str(), "user.note", "a\0b", 3, 0), 0);
  EXPECT_EQ(setxattr((work_ / "a").c_str(), "user.dir", "d", 1, 0), 0);
  SetTimes(work_ / "a/small", 1'000'000'000, 123'456'789);
  SetTimes(work_ / "link", 1'100'000'000, 1);
  SetTimes(work_ / "private", -1000, 5);
  chmod((work_ / "a/b/c").c_str(), 01777);
  SetTimes(work_ / "a/b/c", 1'200'000'000, 999'999'999);
  auto before = Manifest(work_);
  BackupResult result = Take();
  EXPECT_EQ(result.skipped, 0U);
  CheckWithRestic();
  EXPECT_EQ(Manifest(RestoreWithRestic()), before);
}

TEST_F(BackupResticTest, SocketsAndDevicesAreNodes) {
  sys::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (work_ / "socket").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  bool device = mknod((work_ / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0;
  Write(work_ / "file", "f");
  EXPECT_EQ(Take().files, device ? 3U : 2U);
  CheckWithRestic();
  fs::path restored = RestoreWithRestic();
  struct stat st{};
  if (device) {
    ASSERT_EQ(lstat((restored / "null").c_str(), &st), 0);
    EXPECT_TRUE(S_ISCHR(st.st_mode));
    EXPECT_EQ(st.st_rdev, makedev(1, 3));
  }
  EXPECT_EQ(agent::Slurp(restored / "file"), "f");
}

TEST_F(BackupResticTest, ASparseFile) {
  int fd = open((work_ / "sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(ftruncate(fd, 300 << 20), 0);
  ASSERT_EQ(pwrite(fd, "one", 3, (100 << 20) + 17), 3);
  std::string noise = Noise(1 << 20, 4);
  ASSERT_EQ(pwrite(fd, noise.data(), noise.size(), 200 << 20), 1 << 20);
  close(fd);
  Take();
  CheckWithRestic();
  fs::path restored = RestoreWithRestic() / "sparse";
  std::string compare = "cmp '" + (work_ / "sparse").string() + "' '" + restored.string() + "'";
  EXPECT_EQ(std::system(compare.c_str()), 0);
}

TEST_F(BackupResticTest, ATreeThatChangesBetweenSnapshots) {
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 30; ++i) {
      fs::path dir = work_ / ("d" + std::to_string(random() % 7));
      fs::create_directories(dir / "deep");
      fs::path file = (random() % 3 == 0 ? dir / "deep" : dir) / std::to_string(random() % 20);
      if (random() % 4 == 0) {
        fs::remove(file);
      } else {
        Write(file, Noise(random() % 5000, random()));
      }
    }
    if (round == 3) fs::remove_all(work_ / "d1");
    auto before = Manifest(work_);
    Take();
    EXPECT_EQ(Manifest(RestoreWithRestic()), before) << round;
  }
  CheckWithRestic();
}

TEST_F(BackupResticTest, ASnapshotOfResticIsAParent) {
  for (int i = 0; i < 40; ++i) Write(work_ / std::to_string(i), Noise(3000, i));
  repository::Tags tags{.sandbox = "demo", .dir = work_};
  std::string flags;
  for (const std::string& tag : EncodeTags(tags)) flags += " --tag '" + tag + "'";
  PassTick();
  ASSERT_EQ(Restic("backup" + flags + " '" + work_.string() + "'"), 0) << ResticLog();
  Write(work_ / "7", "changed");
  BackupResult result = Take();
  EXPECT_TRUE(result.record.parent);
  EXPECT_EQ(result.files_changed, 1U);
  EXPECT_EQ(result.record.summary->data_blobs, 1U);
  CheckWithRestic();
  EXPECT_EQ(Manifest(RestoreWithRestic()), Manifest(work_));
}

TEST_F(BackupResticTest, BlobsThatPruneRemovedAreStoredAgain) {
  Write(work_ / "a", Noise(100'000, 1));
  BackupOptions options = Options();
  BackupResult first = Take(options);
  ASSERT_EQ(Restic("forget --prune " + first.record.file.Hex()), 0) << ResticLog();
  BackupResult second = Take(options);
  EXPECT_FALSE(second.record.parent);
  EXPECT_EQ(second.record.summary->data_blobs, 1U);
  CheckWithRestic();
  EXPECT_EQ(Manifest(RestoreWithRestic()), Manifest(work_));
}

}  // namespace
}  // namespace atl::snapshot
