// SPDX-License-Identifier: Apache-2.0
#include "oci/image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "sys/fd.h"
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

}  // namespace
}  // namespace atl::oci
