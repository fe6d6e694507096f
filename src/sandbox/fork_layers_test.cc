// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sandbox/fork.h"
#include "sandbox/id.h"

namespace atl::sandbox {
namespace {

TEST(ForkTest, NamesAreDerived) {
  EXPECT_EQ("demo-2", DerivedId("demo", 2));
  EXPECT_EQ("demo-2-3", DerivedId("demo-2", 3));
  for (const std::string& base :
       {std::string(39, 'a'), std::string(36, 'a') + "-bc", std::string("a")}) {
    for (int number : {2, 10, 9999}) {
      EXPECT_TRUE(ValidateId(DerivedId(base, number))) << DerivedId(base, number);
    }
  }
}

TEST(ForkTest, MappedFilesAreThoseThatAreWrittenThroughMemory) {
  std::set<std::string> files;
  AddMappedFiles(
      "7f00-7f01 rw-s 00000000 fe:00 1234                       /workspace/shared\n"
      "7f01-7f02 rw-p 00000000 fe:00 1235                       /workspace/private\n"
      "7f02-7f03 r--s 00000000 fe:00 1236                       /workspace/read\n"
      "7f03-7f04 rw-s 00000000 00:01 1237                       /dev/zero (deleted)\n"
      "7f04-7f05 rw-p 00000000 00:00 0 \n"
      "7f05-7f06 rw-s 00000000 fe:00 1238                       /with\\012 line/x\n"
      "broken",
      files);
  EXPECT_THAT(files, testing::ElementsAre("with\n line/x", "workspace/shared"));
}

}  // namespace
}  // namespace atl::sandbox
