// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "sys/fd.h"

namespace atl::sys {
namespace {

// Levels and levels below `top`, without a path that the kernel would find too long.
void MakeDeep(const std::string& top, int levels) {
  Fd at = Open(top, O_RDONLY | O_DIRECTORY).value();
  for (int i = 0; i < levels; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    at = OpenAt(at.get(), "d", O_RDONLY | O_DIRECTORY).value();
  }
}

TEST(RemoveTreeTest, ADeepTreeWhoseRemovalWasCutShortGoes) {
  char name[] = "/tmp/atoll-remove-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  std::string dir = name;
  MakeDeep(dir, 3000);
  for (int number : {0, 1, 5}) {
    std::string left = dir + "/.atoll-removing-" + std::to_string(number);
    ASSERT_EQ(::mkdir(left.c_str(), 0700), 0);
    MakeDeep(left, 700);
  }
  auto removed = RemoveTree(dir);
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_NE(::access(dir.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace atl::sys
