// SPDX-License-Identifier: Apache-2.0
#include "agent/tar_fixture_test.h"

namespace atl::agent {
namespace {

TEST_F(TarTest, ADirectoryComesBackExactly) {
  MakeTree();
  std::string before = Describe(work_);
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
  EXPECT_EQ(out.end->skipped, 0U);
  EXPECT_EQ(out.end->files, 16U);
  struct stat inode{};
  stat(work_.c_str(), &inode);
  // Changed, added, removed, replaced by another kind.
  fs::remove(work_ / "hello");
  Write(work_ / "a" / "same", "changed");
  fs::create_directories(work_ / "new" / "dir");
  fs::remove(work_ / "dangling");
  fs::create_directory(work_ / "dangling");
  chmod(work_.c_str(), 0700);
  Outcome in = In(work_, out.tar);
  ASSERT_TRUE(in.end.has_value()) << (in.error ? in.error->message : "");
  EXPECT_EQ(in.end->files, 16U);
  EXPECT_EQ(Describe(work_), before);
  struct stat again{};
  stat(work_.c_str(), &again);
  EXPECT_EQ(again.st_ino, inode.st_ino);
  // And once more the same archive.
  EXPECT_EQ(Out(work_).tar, out.tar);
}

TEST_F(TarTest, AnEmptyDirectoryEmptiesTheTarget) {
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  MakeTree();
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_TRUE(fs::is_empty(work_));
}

TEST_F(TarTest, SparseFilesStaySparse) {
  Write(work_ / "sparse", "begin");
  fs::resize_file(work_ / "sparse", 1U << 30U);
  {
    std::fstream file(work_ / "sparse", std::ios::in | std::ios::out);
    file.seekp(100'000'000);
    file << "middle";
  }
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  EXPECT_LT(out.tar.size(), 100'000U);
  fs::remove(work_ / "sparse");
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  struct stat st{};
  ASSERT_EQ(stat((work_ / "sparse").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 1 << 30);
  EXPECT_LT(st.st_blocks, 1000);
  std::ifstream file(work_ / "sparse");
  file.seekg(100'000'000);
  std::string middle(6, ' ');
  file.read(middle.data(), 6);
  EXPECT_EQ(middle, "middle");
}

TEST_F(TarTest, SocketsAndLeftoversOfRestoresAreNotArchived) {
  fs::create_directory(work_ / ".atoll-restore-0123456789abcdef");
  Write(work_ / ".atoll-restore-0123456789abcdef" / "half", "x");
  sys::Fd unix_socket(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  (work_ / "socket").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(unix_socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  EXPECT_EQ(out.end->files, 0U);
  EXPECT_EQ(out.end->skipped, 1U);
  // The next restore removes it.
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_TRUE(fs::is_empty(work_));
}

TEST_F(TarTest, AFileThatChangesWhileItIsReadDoesNotBreakTheArchive) {
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      for (int i = 0; i < 20; ++i) {
        Write(work_ / std::to_string(i), std::string(static_cast<size_t>(i) * 50'000, 'w'));
      }
      for (int i = 0; i < 20; ++i) fs::remove(work_ / std::to_string(i));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Outcome out = Out(work_);
    ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
    EXPECT_TRUE(In(outside_, out.tar).end.has_value());
  }
  stop = true;
  writer.join();
}

TEST_F(TarTest, WhatIsNoDirectoryOfTheUserIsRefused) {
  Write(work_ / "file", "x");
  fs::create_symlink(outside_, work_ / "link");
  fs::create_directory(outside_ / "sub");
  struct Case {
    std::string dir;
    Code code;
    std::string reason;
  };
  for (const Case& test :
       {Case{work_ / "file", Code::kInvalidArgument, "NOT_DIRECTORY"},
        Case{work_ / "link", Code::kInvalidArgument, ""},
        Case{work_ / "link" / "sub", Code::kInvalidArgument, ""},
        Case{work_ / ".." / "outside", Code::kInvalidArgument, ""},
        Case{"relative", Code::kInvalidArgument, ""}, Case{"", Code::kInvalidArgument, ""},
        Case{"/", Code::kInvalidArgument, ""}, Case{"//./", Code::kInvalidArgument, ""},
        Case{"/proc", Code::kInvalidArgument, ""}, Case{"/proc/self", Code::kInvalidArgument, ""},
        Case{"//sys/kernel", Code::kInvalidArgument, ""}, Case{"/dev", Code::kInvalidArgument, ""},
        Case{"/.atoll", Code::kInvalidArgument, ""},
        Case{std::string("/tmp\0x", 6), Code::kInvalidArgument, ""},
        Case{std::string(5000, '/') + "tmp", Code::kInvalidArgument, ""}}) {
    for (const Outcome& outcome : {Out(test.dir), In(test.dir, Archive(""))}) {
      ASSERT_TRUE(outcome.error.has_value()) << test.dir;
      EXPECT_EQ(outcome.error->code, test.code) << test.dir << ": " << outcome.error->message;
      EXPECT_EQ(outcome.error->reason, test.reason) << test.dir;
    }
  }
  EXPECT_TRUE(fs::exists(outside_ / "sub"));
}

TEST_F(TarTest, AMissingDirectoryIsMadeByARestoreThatSucceeds) {
  std::string missing = work_ / "none" / "deeper";
  Outcome archived = Out(missing);
  ASSERT_TRUE(archived.error.has_value());
  EXPECT_EQ(archived.error->reason, "FILE_NOT_FOUND");
  ASSERT_TRUE(In(missing, Archive(TarEntry("../x", '0', "evil"))).error.has_value());
  EXPECT_FALSE(fs::exists(work_ / "none"));
  ASSERT_FALSE(In(missing, Archive(TarEntry("a", '0', "back"))).error.has_value());
  EXPECT_TRUE(fs::exists(work_ / "none" / "deeper" / "a"));
}

TEST_F(TarTest, AHostileArchiveTouchesNothing) {
  Write(outside_ / "victim", "untouched");
  Write(work_ / "old", "kept");
  std::string out = outside_.string();
  std::string up = "../outside/victim";
  std::string staging_up = "../../outside/victim";
  for (const std::string& entries : {
           TarEntry(up, '0', "evil"),
           TarEntry("a/../../../outside/victim", '0', "evil"),
           TarEntry(out + "/victim", '0', "evil"),
           TarEntry("./" + staging_up, '0', "evil"),
           TarEntry("link", '2', "", out) + TarEntry("link/victim", '0', "evil"),
           TarEntry("link", '2', "", "../../outside") + TarEntry("link/victim", '0', "evil"),
           TarEntry("hard", '1', "", out + "/victim"),
           TarEntry("hard", '1', "", staging_up) + TarEntry("hard", '0', "evil"),
           TarEntry("link", '2', "", out + "/victim") + TarEntry("hard", '1', "", "link/x"),
           TarEntry("", '0', "evil"),
           std::string(2048, 'g'),
       }) {
    Outcome outcome = In(work_, Archive(entries));
    EXPECT_TRUE(outcome.error.has_value());
    EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
    EXPECT_EQ(Slurp(work_ / "old"), "kept");
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
  }
  // A symlink and then a file of the same name: the file takes its place.
  Outcome replaced =
      In(work_, Archive(TarEntry("x", '2', "", out + "/victim") + TarEntry("x", '0', "mine")));
  EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
  if (replaced.end) EXPECT_FALSE(fs::is_symlink(work_ / "x"));
}

TEST_F(TarTest, AnArchiveThatIsNotWholeChangesNothing) {
  Write(work_ / "old", "kept");
  std::string tar = Archive(TarEntry("new", '0', std::string(500'000, 'n')));
  // Cut off inside, and cut off just before the end marker.
  for (size_t size : {size_t{100}, size_t{100'000}, tar.size()}) {
    In(work_, tar.substr(0, size), false);
    EXPECT_TRUE(Eventually([&] {
      return std::distance(fs::directory_iterator(work_), {}) == 1 && fs::exists(work_ / "old");
    }));
  }
  // Complete as a stream, but not as an archive; and one without anything.
  for (const std::string& broken : {tar.substr(0, 100'000), std::string(), std::string(1024, '\0'),
                                    TarEntry("new", '0', "n") + std::string(1024, '\0')}) {
    Outcome outcome = In(work_, broken);
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->code, Code::kInvalidArgument) << outcome.error->message;
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 1);
    EXPECT_EQ(Slurp(work_ / "old"), "kept");
  }
}

TEST_F(TarTest, ARestoreFromOutsideIntoAUsedDirectoryReplacesSymlinksNotTheirTargets) {
  Write(outside_ / "victim", "untouched");
  fs::create_directory_symlink(outside_, work_ / "link");
  ASSERT_TRUE(In(work_, Archive(TarEntry("file", '0', "f"))).end.has_value());
  EXPECT_FALSE(fs::is_symlink(fs::symlink_status(work_ / "link")));
  EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
  EXPECT_EQ(Slurp(work_ / "file"), "f");
}

TEST_F(TarTest, ASlowReaderOfAnArchiveCostsNoMemory) {
  Write(work_ / "large", std::string(50'000'000, 'L'));
  Client client(Connect());
  client.Send(protocol::TarOut{.dir = work_});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(AgentRssKb(agent_), 6000);
  EXPECT_GT(Collect(&client).tar.size(), 50'000'000U);
}

}  // namespace
}  // namespace atl::agent
