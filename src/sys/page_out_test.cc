// SPDX-License-Identifier: Apache-2.0
#include "sys/page_out.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "sys/fd.h"
#include "sys/process.h"

namespace atl::sys {
namespace {

constexpr size_t kBytes = 4U << 20U;

// Kilobytes of the file at `path` that `pid` holds.
size_t Resident(pid_t pid, const std::string& path) {
  auto maps = ReadFile(fmt::format("/proc/{}/smaps", pid));
  if (!maps) return 0;
  size_t at = maps->find(path);
  if (at == std::string::npos) return 0;
  return std::stoul(maps->substr(maps->find("Rss:", at) + 4));
}

TEST(PageOutTest, WhatOneProcessAloneMapsIsDroppedAndReadAgain) {
  // Not below /tmp, which may be memory itself.
  std::string path = fmt::format("/var/tmp/page_out_{}", ::getpid());
  auto file = Open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(WriteAll(file->get(), std::string(kBytes, 'x')));
  ASSERT_EQ(0, ::fsync(file->get()));
  int asked[2];
  int told[2];
  ASSERT_EQ(0, ::pipe2(asked, O_CLOEXEC));
  ASSERT_EQ(0, ::pipe2(told, O_CLOEXEC));
  pid_t child = ::fork();
  if (child == 0) {
    auto* text = static_cast<volatile char*>(
        ::mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE, file->get(), 0));
    for (;;) {
      char right = 1;
      for (size_t i = 0; i < kBytes; i += 512) right &= static_cast<char>(text[i] == 'x');
      if (::write(told[1], &right, 1) != 1 || ::read(asked[0], &right, 1) != 1) ::_exit(0);
    }
  }
  char right = 0;
  ASSERT_EQ(1, ::read(told[0], &right, 1));
  EXPECT_EQ(kBytes >> 10U, Resident(child, path));
  PageOutFiles(child);
  EXPECT_EQ(0U, Resident(child, path));
  ASSERT_EQ(1, ::write(asked[1], "?", 1));
  ASSERT_EQ(1, ::read(told[0], &right, 1));
  EXPECT_EQ(1, right) << "it is read again as it was";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::unlink(path.c_str());
  for (int end : {asked[0], asked[1], told[0], told[1]}) ::close(end);
}

TEST(PageOutTest, AProcessThatIsGoneIsNoError) {
  pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  PageOutFiles(child);
}

}  // namespace
}  // namespace atl::sys
