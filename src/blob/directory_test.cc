// SPDX-License-Identifier: Apache-2.0
#include "blob/directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

namespace atl::blob {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

class DirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "atoll-blob-XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    path_ = root_ + "/blobs";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTree(root_)); }

  static void Store(const Directory& directory, const std::string& name, std::string_view data) {
    auto upload = directory.Put();
    ASSERT_TRUE(upload) << upload.error().message;
    ASSERT_TRUE(upload->Write(data));
    auto committed = upload->Commit(name);
    ASSERT_TRUE(committed) << committed.error().message;
  }

  std::string root_;
  std::string path_;
};

TEST_F(DirectoryTest, ABlobComesBackAsItWasWritten) {
  auto directory = Directory::Open(path_);
  ASSERT_TRUE(directory) << directory.error().message;
  auto upload = directory->Put();
  ASSERT_TRUE(upload->Write("hello, "));
  ASSERT_TRUE(upload->Write("world"));
  EXPECT_THAT(*directory->List(), IsEmpty()) << "visible before it is complete";
  ASSERT_TRUE(upload->Commit("a.txt"));
  EXPECT_EQ(upload->size(), 12U);

  auto download = directory->Get("a.txt");
  ASSERT_TRUE(download);
  EXPECT_EQ(download->size(), 12U);
  char buffer[100];
  EXPECT_EQ(*download->Read(buffer), 12U);
  EXPECT_EQ(std::string_view(buffer, 12), "hello, world");
  EXPECT_EQ(*download->Read(buffer), 0U);
  EXPECT_EQ(*directory->Read("a.txt", 100), "hello, world");
  EXPECT_FALSE(directory->Read("a.txt", 5));
}

TEST_F(DirectoryTest, AnUploadThatIsGivenUpLeavesNothing) {
  auto directory = Directory::Open(path_);
  {
    ASSERT_TRUE(directory->Put()->Write("half"));
  }
  EXPECT_TRUE(sys::RemoveTree(path_ + "/nothing"));
  EXPECT_EQ(::rmdir(path_.c_str()), 0) << "the directory is not empty";
}

TEST_F(DirectoryTest, OpeningRemovesWhatAKilledProcessLeft) {
  ASSERT_TRUE(sys::MakeDirs(path_));
  ASSERT_TRUE(sys::WriteFile(path_ + "/.upload-1-0", "half"));
  auto directory = Directory::Open(path_);
  ASSERT_TRUE(directory);
  struct stat st{};
  EXPECT_NE(::stat((path_ + "/.upload-1-0").c_str(), &st), 0);
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0700U);
}

TEST_F(DirectoryTest, BlobsAreListedAndRemoved) {
  auto directory = Directory::Open(path_);
  Store(*directory, "a.json", "1");
  Store(*directory, "b.json", "2");
  Store(*directory, "a.zst", "3");
  EXPECT_THAT(*directory->List(".json"), UnorderedElementsAre("a.json", "b.json"));
  ASSERT_TRUE(directory->Remove("a.json"));
  ASSERT_TRUE(directory->Remove("a.json"));
  EXPECT_THAT(*directory->List(), UnorderedElementsAre("b.json", "a.zst"));
}

TEST_F(DirectoryTest, ABlobIsNeverReplaced) {
  auto directory = Directory::Open(path_);
  Store(*directory, "a", "first");
  auto upload = directory->Put();
  ASSERT_TRUE(upload->Write("second"));
  auto committed = upload->Commit("a");
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().code, Code::kAlreadyExists);
  EXPECT_EQ(*directory->Read("a", 10), "first");
}

TEST_F(DirectoryTest, NamesThatCouldLeadElsewhereAreRefused) {
  auto directory = Directory::Open(path_);
  ASSERT_TRUE(sys::WriteFile(root_ + "/secret", "s"));
  for (std::string name : {"", ".", "..", "../secret", "a/b", "/etc/passwd", ".hidden", "a\nb"}) {
    auto got = directory->Get(name);
    ASSERT_FALSE(got) << name;
    EXPECT_EQ(got.error().code, Code::kInvalidArgument) << name;
    EXPECT_FALSE(directory->Remove(name)) << name;
  }
  EXPECT_EQ(directory->Get("missing").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace atl::blob
