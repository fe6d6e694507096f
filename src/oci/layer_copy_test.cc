// SPDX-License-Identifier: Apache-2.0
#include "oci/layer_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/posix_acl_xattr.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "oci/layer_attributes.h"
#include "oci/test_host.h"
#include "sys/fd.h"

namespace atl::oci {
namespace {

constexpr uint32_t kFrom = 0x10010000;
constexpr uint32_t kTo = 0x10050000;
constexpr off_t kHuge = 1LL << 40U;

class LayerCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    ATOLL_NEEDS_ROOT();
    // Where layers are: a tmpfs takes fewer attributes.
    std::string pattern = "/var/tmp/atoll-copy-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    source_ = dir_ + "/source";
    target_ = dir_ + "/target";
    ASSERT_EQ(0, ::mkdir(source_.c_str(), 0755));
    Own("", 0);
  }
  void TearDown() override {
    if (!dir_.empty()) EXPECT_TRUE(sys::RemoveTree(dir_));
  }

  std::string From(const std::string& path) const { return source_ + "/" + path; }
  std::string To(const std::string& path) const { return target_ + "/" + path; }
  void Own(const std::string& path, uint32_t id) const {
    ASSERT_EQ(0, ::lchown(From(path).c_str(), kFrom + id, kFrom + id));
  }
  void Write(const std::string& path, const std::string& text, uint32_t id = 0) const {
    std::filesystem::create_directories(std::filesystem::path(From(path)).parent_path());
    ASSERT_TRUE(sys::WriteFile(From(path), text));
    Own(path, id);
  }
  std::string Read(const std::string& path) const {
    auto text = sys::ReadFile(To(path));
    return text ? *text : text.error().message;
  }
  static struct stat Stat(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(0, ::lstat(path.c_str(), &info)) << path;
    return info;
  }
  bool Exists(const std::string& path) const {
    struct stat info{};
    return ::lstat(To(path).c_str(), &info) == 0;
  }
  LayerCopy Open(std::stop_token stop = {}) const {
    auto copy = LayerCopy::Open({.source = source_,
                                 .target = target_,
                                 .source_base = kFrom,
                                 .target_base = kTo,
                                 .stop = std::move(stop)});
    EXPECT_TRUE(copy);
    return *std::move(copy);
  }
  LayerCopyStats Pass(LayerCopy& copy, const std::set<std::string>& always = {}) const {
    auto stats = copy.Pass(always);
    EXPECT_TRUE(stats) << stats.error().message;
    return stats ? *stats : LayerCopyStats();
  }
  // Longer than the kernel's idea of "at the same time".
  static void Settle() { std::this_thread::sleep_for(std::chrono::milliseconds(80)); }

  std::string dir_;
  std::string source_;
  std::string target_;
};

TEST_F(LayerCopyTest, EveryKindOfFileKeepsWhatItIs) {
  Write("dir/file", "content", 1000);
  ASSERT_EQ(0, ::chmod(From("dir/file").c_str(), 06751));
  const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 5},
                             {.tv_sec = 2000, .tv_nsec = 123456789}};
  ASSERT_EQ(0, ::utimensat(AT_FDCWD, From("dir/file").c_str(), times, 0));
  ASSERT_EQ(0, ::symlink("/etc/shadow", From("dir/link").c_str()));
  Own("dir/link", 7);
  ASSERT_EQ(0, ::mkfifo(From("fifo").c_str(), 0600));
  ASSERT_EQ(0, ::chmod(From("fifo").c_str(), 0620));
  ASSERT_EQ(0, ::mknod(From("whiteout").c_str(), S_IFCHR | 0600, makedev(0, 0)));
  ASSERT_EQ(0, ::mknod(From("null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
  ASSERT_EQ(0, ::link(From("dir/file").c_str(), From("other name").c_str()));
  ASSERT_EQ(0, ::mkdir(From("opaque").c_str(), 0755));
  ASSERT_EQ(0, ::chmod(From("opaque").c_str(), 01777));
  ASSERT_EQ(0, ::setxattr(From("opaque").c_str(), "trusted.overlay.opaque", "y", 1, 0));
  ASSERT_EQ(0, ::setxattr(From("dir/file").c_str(), "user.note", "mine", 4, 0));
  int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, From("socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(0, ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
  ::close(socket);

  LayerCopy copy = Open();
  Pass(copy);

  struct stat file = Stat(To("dir/file"));
  EXPECT_EQ("content", Read("dir/file"));
  EXPECT_EQ(kTo + 1000, file.st_uid);
  EXPECT_EQ(kTo + 1000, file.st_gid);
  EXPECT_EQ(06751U, file.st_mode & 07777U);
  EXPECT_EQ(2000, file.st_mtim.tv_sec);
  EXPECT_EQ(123456789, file.st_mtim.tv_nsec);
  EXPECT_EQ(file.st_ino, Stat(To("other name")).st_ino);
  EXPECT_EQ(2U, file.st_nlink);
  EXPECT_NE(file.st_ino, Stat(From("dir/file")).st_ino);
  EXPECT_EQ("/etc/shadow", std::filesystem::read_symlink(To("dir/link")).string());
  EXPECT_EQ(kTo + 7, Stat(To("dir/link")).st_uid);
  EXPECT_TRUE(S_ISFIFO(Stat(To("fifo")).st_mode));
  EXPECT_EQ(0620U, Stat(To("fifo")).st_mode & 07777U);
  struct stat whiteout = Stat(To("whiteout"));
  EXPECT_TRUE(S_ISCHR(whiteout.st_mode));
  EXPECT_EQ(makedev(0, 0), whiteout.st_rdev);
  EXPECT_FALSE(Exists("null")) << "no other device";
  EXPECT_FALSE(Exists("socket"));
  EXPECT_EQ(01777U, Stat(To("opaque")).st_mode & 07777U);
  char value[16];
  EXPECT_EQ(1, ::getxattr(To("opaque").c_str(), "trusted.overlay.opaque", value, sizeof(value)));
  EXPECT_EQ(4, ::getxattr(To("dir/file").c_str(), "user.note", value, sizeof(value)));
  EXPECT_EQ(kTo, Stat(target_).st_uid);
}

TEST_F(LayerCopyTest, CapabilitiesAndListsNameTheNewOwners) {
  IdShift shift{.from = kFrom, .to = kTo};
  vfs_ns_cap_data caps{};
  caps.magic_etc = VFS_CAP_REVISION_3 | VFS_CAP_FLAGS_EFFECTIVE;
  caps.data[0].permitted = 1U << 10U;
  caps.rootid = kFrom;
  std::string value(reinterpret_cast<char*>(&caps), sizeof(caps));
  std::string shifted = ShiftXAttribute("security.capability", value, shift);
  std::memcpy(&caps, shifted.data(), sizeof(caps));
  EXPECT_EQ(kTo, caps.rootid);
  EXPECT_EQ(1U << 10U, caps.data[0].permitted);
  EXPECT_EQ("short", ShiftXAttribute("security.capability", "short", shift));

  struct Acl {
    posix_acl_xattr_header header{.a_version = POSIX_ACL_XATTR_VERSION};
    std::array<posix_acl_xattr_entry, 3> entries{};
  } acl;
  acl.entries[0] = {.e_tag = 0x02, .e_perm = 7, .e_id = kFrom + 5};
  acl.entries[1] = {.e_tag = 0x08, .e_perm = 7, .e_id = kFrom + 65535};
  acl.entries[2] = {.e_tag = 0x02, .e_perm = 7, .e_id = kFrom + 65536};
  std::string list(reinterpret_cast<char*>(&acl), sizeof(acl));
  std::string moved = ShiftXAttribute("system.posix_acl_access", list, shift);
  std::memcpy(&acl, moved.data(), sizeof(acl));
  EXPECT_EQ(kTo + 5, acl.entries[0].e_id);
  EXPECT_EQ(kTo + 65535, acl.entries[1].e_id);
  EXPECT_EQ(kFrom + 65536, acl.entries[2].e_id) << "none of the sandbox's";

  Write("ping", "program");
  ASSERT_EQ(0,
            ::setxattr(From("ping").c_str(), "security.capability", value.data(), value.size(), 0));
  LayerCopy copy = Open();
  Pass(copy);
  ASSERT_EQ(static_cast<ssize_t>(sizeof(caps)),
            ::getxattr(To("ping").c_str(), "security.capability", &caps, sizeof(caps)));
  EXPECT_EQ(kTo, caps.rootid);
}

TEST_F(LayerCopyTest, TheSecondPassCopiesWhatHasChanged) {
  for (int i = 0; i < 50; ++i) Write(fmt::format("same/{}", i), "as it was");
  Write("grows", "a");
  Write("goes/away", "x");
  Write("becomes a directory", "x");
  Write("becomes a file/below", "x");
  Write("one name", "old");
  ASSERT_EQ(0, ::link(From("one name").c_str(), From("second name").c_str()));
  Settle();
  LayerCopy copy = Open();
  Pass(copy);

  LayerCopyStats nothing = Pass(copy);
  EXPECT_EQ(0U, nothing.copied) << "it stood still";

  auto append = sys::Open(From("grows"), O_WRONLY | O_APPEND);
  ASSERT_TRUE(append && sys::WriteAll(append->get(), "b"));
  ASSERT_TRUE(sys::RemoveTree(From("goes")));
  ASSERT_TRUE(sys::RemoveTree(From("becomes a directory")));
  Write("becomes a directory/below", "y");
  ASSERT_TRUE(sys::RemoveTree(From("becomes a file")));
  Write("becomes a file", "y");
  Write("one name", "new");
  ASSERT_EQ(0, ::link(From("one name").c_str(), From("third name").c_str()));
  Write("came", "later");
  LayerCopyStats stats = Pass(copy);
  EXPECT_LT(stats.copied, 20U) << "what stayed the same is not copied";
  EXPECT_EQ("ab", Read("grows"));
  EXPECT_FALSE(Exists("goes"));
  EXPECT_EQ("y", Read("becomes a directory/below"));
  EXPECT_EQ("y", Read("becomes a file"));
  EXPECT_EQ("new", Read("second name"));
  EXPECT_EQ(Stat(To("one name")).st_ino, Stat(To("third name")).st_ino);
  EXPECT_EQ(Stat(To("one name")).st_ino, Stat(To("second name")).st_ino);
  EXPECT_EQ("later", Read("came"));
  EXPECT_EQ("as it was", Read("same/49"));
}

TEST_F(LayerCopyTest, WhatProgramsHaveMappedIsCopiedAgain) {
  Write("dir/mapped", "before");
  Settle();
  LayerCopy copy = Open();
  Pass(copy);
  ASSERT_TRUE(sys::WriteFile(To("dir/mapped"), "stale!"));
  Pass(copy);
  EXPECT_EQ("stale!", Read("dir/mapped")) << "nothing tells that it changed";
  Pass(copy, {"dir/mapped"});
  EXPECT_EQ("before", Read("dir/mapped"));
}

TEST_F(LayerCopyTest, ADirectoryThatWasAwayIsCopiedWhole) {
  Write("dir/below/file", "text");
  Settle();
  LayerCopy copy = Open();
  Pass(copy);
  const std::string away = source_ + ".away";
  ASSERT_EQ(0, ::rename(From("dir").c_str(), away.c_str()));
  Pass(copy);
  EXPECT_FALSE(Exists("dir"));
  // Its files are those that were there before, by inode and by time.
  ASSERT_EQ(0, ::rename(away.c_str(), From("dir").c_str()));
  Pass(copy);
  EXPECT_EQ("text", Read("dir/below/file"));
}

TEST_F(LayerCopyTest, AHugeSparseFileStaysSparse) {
  auto file = sys::Open(From("sparse"), O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  ASSERT_EQ(4, ::pwrite(file->get(), "data", 4, 1LL << 33U));
  ASSERT_EQ(0, ::ftruncate(file->get(), kHuge));
  LayerCopy copy = Open();
  Pass(copy);
  struct stat info = Stat(To("sparse"));
  EXPECT_EQ(kHuge, info.st_size);
  EXPECT_LT(info.st_blocks, 1024);
  auto read = sys::Open(To("sparse"), O_RDONLY);
  char text[4];
  ASSERT_EQ(4, ::pread(read->get(), text, 4, 1LL << 33U));
  EXPECT_EQ("data", std::string(text, 4));
}

TEST_F(LayerCopyTest, ATreeThatIsTooDeepIsRefused) {
  sys::Fd at = *sys::Open(source_, O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(0, ::mkdirat(at.get(), "d", 0755));
    auto next = sys::OpenAt(at.get(), "d", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(next);
    at = *std::move(next);
  }
  LayerCopy copy = Open();
  auto stats = copy.Pass();
  ASSERT_FALSE(stats);
  EXPECT_EQ("TOO_DEEP", ReasonOf(stats.error()));
}

TEST_F(LayerCopyTest, ACopyCanBeGivenUp) {
  Write("file", "x");
  std::stop_source stop;
  stop.request_stop();
  LayerCopy copy = Open(stop.get_token());
  auto stats = copy.Pass();
  ASSERT_FALSE(stats);
  EXPECT_EQ("FORK_CANCELLED", ReasonOf(stats.error()));
}

// Directories, files and fifos change places with links to what is outside, as fast as that goes.
TEST_F(LayerCopyTest, NothingOutsideIsReadOrWritten) {
  std::string outside = dir_ + "/outside";
  ASSERT_TRUE(sys::MakeDirs(outside + "/sub"));
  ASSERT_TRUE(sys::WriteFile(outside + "/secret", "SECRET"));
  ASSERT_TRUE(sys::WriteFile(outside + "/sub/secret", "SECRET"));
  for (int i = 0; i < 20; ++i) Write(fmt::format("dir/sub/{}", i), "mine");
  Write("dir/secret", "mine");
  ASSERT_EQ(0, ::symlink(outside.c_str(), From("link").c_str()));
  ASSERT_EQ(0, ::symlink((outside + "/secret").c_str(), From("file link").c_str()));
  Write("file", "mine");
  std::atomic<bool> done = false;
  std::thread hostile([&] {
    while (!done) {
      ::renameat2(AT_FDCWD, From("dir").c_str(), AT_FDCWD, From("link").c_str(), RENAME_EXCHANGE);
      ::renameat2(AT_FDCWD, From("file").c_str(), AT_FDCWD, From("file link").c_str(),
                  RENAME_EXCHANGE);
      ::unlink(From("x").c_str());
      ::mkfifo(From("x").c_str(), 0600);
      ::unlink(From("x").c_str());
      (void)!::symlink("..", From("x").c_str());
    }
  });
  for (int round = 0; round < 200; ++round) {
    LayerCopy copy = Open();
    Pass(copy);
    Pass(copy);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(target_)) {
      if (!entry.is_regular_file() || entry.is_symlink()) continue;
      auto text = sys::ReadFile(entry.path());
      ASSERT_TRUE(text);
      ASSERT_FALSE(text->contains("SECRET")) << entry.path();
    }
    ASSERT_TRUE(sys::RemoveTree(target_));
  }
  done = true;
  hostile.join();
  EXPECT_EQ("SECRET", *sys::ReadFile(outside + "/secret"));
  EXPECT_EQ(0U, Stat(outside + "/secret").st_uid);
}

}  // namespace
}  // namespace atl::oci
