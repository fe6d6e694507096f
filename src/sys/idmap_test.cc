// SPDX-License-Identifier: Apache-2.0
#include "sys/idmap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "sys/mounts.h"
#include "sys/namespace.h"
#include "sys/overlay.h"

namespace atl::sys {
namespace {

class IdmapTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be root";
    // A colon and a comma would end an option of mount(8).
    std::string pattern = "/tmp/atoll idmap:test,XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    for (const char* name : {"/lower", "/upper", "/work", "/scratch"}) {
      ASSERT_TRUE(MakeDirs(dir_ + name));
    }
    ASSERT_TRUE(WriteFile(dir_ + "/lower/file", "below"));
  }
  void TearDown() override {
    if (!dir_.empty()) EXPECT_TRUE(RemoveTree(dir_));
  }
  std::string dir_;
};

TEST_F(IdmapTest, ShowsOwnersAsTheNamespaceHasThem) {
  auto users = MakeUserNamespace({.base = 500'000});
  ASSERT_TRUE(users) << users.error().message;
  uid_t owner = 0;
  ASSERT_EQ(0, ::ioctl(users->get(), NS_GET_OWNER_UID, &owner));
  EXPECT_EQ(500'000U, owner);
  EXPECT_EQ(0U, ::geteuid()) << "nobody else became another user";
  EXPECT_EQ(1, ::prctl(PR_GET_DUMPABLE));
  EXPECT_EQ(-1, ::waitpid(-1, nullptr, __WALL | WNOHANG)) << "its process is gone";
  EXPECT_EQ(ECHILD, errno);
  auto view = CloneIdmapped(dir_ + "/lower", users->get());
  ASSERT_TRUE(view) << view.error().message;
  struct stat info{};
  ASSERT_EQ(0, ::fstatat(view->get(), "file", &info, 0));
  EXPECT_EQ(500'000U, info.st_uid);
  EXPECT_EQ(500'000U, info.st_gid);
  EXPECT_LT(::openat(view->get(), "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 0);
  EXPECT_EQ(EROFS, errno);
}

TEST_F(IdmapTest, OverlayKeepsTheLowerLayerAsItIs) {
  auto users = MakeUserNamespace({.base = 500'000});
  ASSERT_TRUE(users);
  auto view = CloneIdmapped(dir_ + "/lower", users->get());
  ASSERT_TRUE(view);
  OverlaySpec spec{.lower = dir_ + "/lower", .upper = dir_ + "/upper", .work = dir_ + "/work"};
  auto overlay = MakeOverlay(view->get(), spec, dir_ + "/scratch");
  ASSERT_TRUE(overlay) << overlay.error().message;
  struct stat info{};
  ASSERT_EQ(0, ::fstatat(overlay->get(), "file", &info, 0));
  EXPECT_EQ(500'000U, info.st_uid);
  ASSERT_TRUE(WriteFileAt(overlay->get(), "file", "above"));
  EXPECT_EQ("below", *ReadFile(dir_ + "/lower/file"));
  EXPECT_EQ("above", *ReadFile(dir_ + "/upper/file"));
  overlay->Reset();
  auto plain = MakeOverlay(spec);
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ("above", *ReadFileAt(plain->get(), "file"));
  auto mounts = ListMounts();
  ASSERT_TRUE(mounts);
  for (const auto& mount : *mounts) EXPECT_FALSE(mount.target.starts_with(dir_));
}

// Who mounts the layers again finds the same.
TEST_F(IdmapTest, DirectoriesOfTheLowerLayerCanBeRenamed) {
  ASSERT_TRUE(MakeDirs(dir_ + "/lower/sub/deeper"));
  ASSERT_TRUE(WriteFile(dir_ + "/lower/sub/deeper/file", "below"));
  auto users = MakeUserNamespace({.base = 500'000});
  ASSERT_TRUE(users);
  auto view = CloneIdmapped(dir_ + "/lower", users->get());
  ASSERT_TRUE(view);
  OverlaySpec spec{.lower = dir_ + "/lower", .upper = dir_ + "/upper", .work = dir_ + "/work"};
  auto overlay = MakeOverlay(view->get(), spec, dir_ + "/scratch");
  ASSERT_TRUE(overlay) << overlay.error().message;
  ASSERT_EQ(0, ::renameat(overlay->get(), "sub", overlay->get(), "moved")) << errno;
  overlay->Reset();
  auto again = MakeOverlay(view->get(), spec, dir_ + "/scratch");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ("below", *ReadFileAt(again->get(), "moved/deeper/file"));
  EXPECT_FALSE(OpenAt(again->get(), "sub", O_PATH));
  EXPECT_EQ("below", *ReadFile(dir_ + "/lower/sub/deeper/file"));
}

TEST_F(IdmapTest, SaysWhyItCannot) {
  auto users = MakeUserNamespace({.base = 500'000});
  ASSERT_TRUE(users);
  auto view = CloneIdmapped(dir_ + "/missing", users->get());
  ASSERT_FALSE(view);
  EXPECT_EQ(Code::kNotFound, view.error().code);
  EXPECT_TRUE(view.error().message.contains("missing")) << view.error().message;
  EXPECT_FALSE(MakeUserNamespace({.base = 1, .size = 0}));
}

TEST(Namespace, AThreadGoesInAndComesOut) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be root";
  auto before = NamespaceId(::gettid(), "net");
  auto own = OpenNamespace(::getpid(), "net");
  ASSERT_TRUE(before && own);
  auto inside = RunInNetworkNamespace(own->get(), [] { return NamespaceId(::gettid(), "net"); });
  ASSERT_TRUE(inside);
  EXPECT_EQ(*before, *inside);
  auto failed = RunInNetworkNamespace(-1, []() -> Result<int> { return 1; });
  EXPECT_FALSE(failed);
  auto passed = RunInNetworkNamespace(
      own->get(), []() -> Result<int> { return Fail(Code::kGone, "as it was"); });
  EXPECT_EQ(Code::kGone, passed.error().code);
}

}  // namespace
}  // namespace atl::sys
