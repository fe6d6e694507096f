// SPDX-License-Identifier: Apache-2.0
#include "oci/trash.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "oci/test_host.h"
#include "sys/fd.h"
#include "sys/mounts.h"

namespace atl::oci {
namespace {

constexpr std::chrono::seconds kLimit{30};

class TrashTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/atoll-trash-test.XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(dir_)); }

  std::string Tree(const std::string& name) {
    std::string path = dir_ + "/" + name;
    std::filesystem::create_directories(path + "/a/b/c");
    EXPECT_TRUE(sys::WriteFile(path + "/a/file", "content"));
    return path;
  }
  std::unique_ptr<Trash> Open() {
    auto trash = Trash::Open(dir_ + "/trash");
    EXPECT_TRUE(trash);
    return *std::move(trash);
  }

  std::string dir_;
};

TEST_F(TrashTest, WhatIsPutIntoItIsGoneAtOnceAndRemovedLater) {
  auto trash = Open();
  for (int i = 0; i < 20; ++i) {
    std::string tree = Tree("tree");
    ASSERT_TRUE(trash->Put(tree, "same"));
    EXPECT_FALSE(std::filesystem::exists(tree));
  }
  EXPECT_TRUE(trash->Put(dir_ + "/missing", "missing"));
  EXPECT_TRUE(trash->AwaitEmpty(kLimit));
  EXPECT_TRUE(NamesIn(dir_ + "/trash").empty());
}

TEST_F(TrashTest, WhatAKilledDaemonLeftIsRemoved) {
  Tree("trash/old");
  auto trash = Open();
  EXPECT_TRUE(trash->AwaitEmpty(kLimit));
  EXPECT_TRUE(NamesIn(dir_ + "/trash").empty());
}

TEST_F(TrashTest, WhatCannotBeRemovedIsTriedAgain) {
  ATOLL_NEEDS_ROOT();
  std::string busy = Tree("trash/busy") + "/a/b";
  ASSERT_EQ(0, ::mount("none", busy.c_str(), "tmpfs", 0, nullptr));
  auto trash = Open();
  ASSERT_TRUE(trash->Put(Tree("other"), "other"));
  EXPECT_FALSE(trash->AwaitEmpty(std::chrono::milliseconds(300)));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/trash/other")) << "one does not hold up the rest";
  ASSERT_TRUE(sys::Unmount(busy, MNT_DETACH));
  EXPECT_TRUE(trash->AwaitEmpty(kLimit));
  EXPECT_TRUE(NamesIn(dir_ + "/trash").empty());
}

}  // namespace
}  // namespace atl::oci
