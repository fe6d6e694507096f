// SPDX-License-Identifier: Apache-2.0
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include <cerrno>

#include "agent/walk_fixture_test.h"

namespace atl::agent {
namespace {

TEST_F(WalkTest, SaysEverythingOfEveryEntryInTheOrderOfNames) {
  std::filesystem::create_directories(root_ / "b/inner");
  Write(root_ / "a", "content");
  Write(root_ / "b/inner/deep", "x");
  Write(root_ / "b!", "");  // sorts before what is in b, but behind b itself
  Write(root_ / "Z", "");
  ASSERT_EQ(symlink("../outside", (root_ / "link").c_str()), 0);
  ASSERT_EQ(::link((root_ / "a").c_str(), (root_ / "hard").c_str()), 0);
  ASSERT_EQ(mkfifo((root_ / "pipe").c_str(), 0600), 0);
  ASSERT_EQ(chmod((root_ / "a").c_str(), 04711), 0);
  ASSERT_EQ(chown((root_ / "Z").c_str(), 123, 456), 0);
  timespec times[2]{{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = -5, .tv_nsec = 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, (root_ / "Z").c_str(), times, 0), 0);

  Walked walked = Walk();
  std::vector<std::string> order{
      "", "Z", "a", "b", "b/inner", "b/inner/deep", "..", "..", "b!", "hard", "link", "pipe", ".."};
  EXPECT_EQ(walked.order, order);
  ASSERT_TRUE(walked.end.has_value());
  EXPECT_EQ(walked.end->entries, 9U);
  EXPECT_EQ(walked.end->skipped, 0U);
  struct stat st{};
  ASSERT_EQ(stat((root_ / "a").c_str(), &st), 0);
  const protocol::TreeEntry& file = walked.entries["a"];
  EXPECT_EQ(file.meta.mode, static_cast<uint32_t>(S_IFREG | 04711));
  EXPECT_EQ(file.size, 7U);
  EXPECT_EQ(file.inode, st.st_ino);
  EXPECT_EQ(file.links, 2U);
  EXPECT_EQ(file.ctime.seconds, static_cast<uint64_t>(st.st_ctim.tv_sec));
  EXPECT_EQ(file.ctime.nanos, static_cast<uint32_t>(st.st_ctim.tv_nsec));
  EXPECT_EQ(walked.entries["hard"].inode, st.st_ino);
  EXPECT_EQ(walked.entries["Z"].meta.uid, 123U);
  EXPECT_EQ(walked.entries["Z"].meta.gid, 456U);
  EXPECT_EQ(walked.entries["Z"].meta.mtime.seconds, static_cast<uint64_t>(-5));
  EXPECT_EQ(walked.entries["Z"].meta.mtime.nanos, 7U);
  EXPECT_EQ(walked.entries["link"].link_target, "../outside");
  EXPECT_TRUE(S_ISFIFO(walked.entries["pipe"].meta.mode));
}

TEST_F(WalkTest, NamesAreBytes) {
  std::vector<std::string> names{"\xff\xfe", "new\nline", std::string(255, 'n'), "\x01",
                                 "\xc3\xa4"};
  for (const std::string& name : names) Write(root_ / name);
  Walked walked = Walk();
  for (const std::string& name : names) EXPECT_TRUE(walked.entries.contains(name)) << name;
  EXPECT_EQ(walked.order[1], "\x01");
  EXPECT_EQ(walked.order[walked.order.size() - 2], "\xff\xfe");
}

TEST_F(WalkTest, ExtendedAttributesComeWithTheEntry) {
  Write(root_ / "f");
  std::filesystem::create_directory(root_ / "d");
  std::string binary("\0\xff\n", 3);
  ASSERT_EQ(setxattr((root_ / "f").c_str(), "user.b", binary.data(), binary.size(), 0), 0);
  ASSERT_EQ(setxattr((root_ / "f").c_str(), "user.a", "", 0, 0), 0);
  std::string large(3000, 'x');
  ASSERT_EQ(setxattr((root_ / "d").c_str(), "user.large", large.data(), large.size(), 0), 0);
  // cap_net_raw+ep in the second version of its form.
  std::string capability("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(setxattr((root_ / "f").c_str(), "security.capability", capability.data(),
                     capability.size(), 0),
            0);
  Walked walked = Walk();
  protocol::EntryMeta meta = walked.entries["f"].meta;
  ASSERT_EQ(meta.xattrs.size(), 3U);
  EXPECT_EQ(meta.xattrs[0].first, "security.capability");
  EXPECT_EQ(meta.xattrs[1], std::pair(std::string("user.a"), std::string()));
  EXPECT_EQ(meta.xattrs[2], std::pair(std::string("user.b"), binary));
  EXPECT_EQ(walked.entries["d"].meta.xattrs[0].second, large);
  EXPECT_EQ(ReadOne("f").begin->entry.meta.xattrs, meta.xattrs);
}

TEST_F(WalkTest, ExcludedPathsAndWhatIsBelowDoNotExist) {
  std::filesystem::create_directories(root_ / "a/cache/x");
  std::filesystem::create_directories(root_ / "cache");
  Write(root_ / "a/cachet");
  Write(root_ / "tmp");
  std::string base = root_;
  Walked walked = Walk({base + "//a/./cache/", base + "/tmp", "/elsewhere", base + "/a/none"});
  EXPECT_EQ(walked.order,
            (std::vector<std::string>{"", "a", "a/cachet", "..", "cache", "..", ".."}));
  EXPECT_EQ(walked.end->skipped, 0U);
  EXPECT_EQ(Walk({base}).error->code, Code::kInvalidArgument);
  EXPECT_EQ(Walk({"/"}).error->code, Code::kInvalidArgument);
  EXPECT_EQ(Walk({"relative"}).error->code, Code::kInvalidArgument);
}

TEST_F(WalkTest, OtherFileSystemsAreSkippedAndNamed) {
  std::filesystem::create_directory(root_ / "mount");
  Write(root_ / "z");
  if (mount("none", (root_ / "mount").c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP();
  Write(root_ / "mount/inside");
  // The agent's mounts are this process's.
  Walked walked = Walk();
  auto read = ReadOne("mount/inside");
  umount2((root_ / "mount").c_str(), MNT_DETACH);
  EXPECT_EQ(walked.skipped, (std::map<std::string, int>{{"mount", EXDEV}}));
  EXPECT_TRUE(walked.entries.contains("z"));
  EXPECT_EQ(walked.end->skipped, 1U);
  EXPECT_EQ(read.end->sys_errno, EXDEV);
}

TEST_F(WalkTest, DirectoriesThatAreTooDeepAreSkippedAndNamed) {
  // By descriptors: the path is longer than any call takes.
  sys::Fd at = sys::Open(root_, O_RDONLY | O_DIRECTORY).value();
  for (int depth = 0; depth < 600; ++depth) {
    ASSERT_EQ(mkdirat(at.get(), "d", 0700), 0);
    at = sys::OpenAt(at.get(), "d", O_RDONLY | O_DIRECTORY).value();
  }
  Walked walked = Walk();
  ASSERT_TRUE(walked.end.has_value());
  EXPECT_EQ(walked.end->entries, 512U);
  ASSERT_EQ(walked.skipped.size(), 1U);
  EXPECT_EQ(walked.skipped.begin()->second, ELOOP);
}

TEST_F(WalkTest, PathsThatNobodyCouldAskForAreSkipped) {
  sys::Fd at = sys::Open(root_, O_RDONLY | O_DIRECTORY).value();
  std::string name(250, 'd');
  for (int depth = 0; depth < 20; ++depth) {
    ASSERT_EQ(mkdirat(at.get(), name.c_str(), 0700), 0);
    at = sys::OpenAt(at.get(), name, O_RDONLY | O_DIRECTORY).value();
  }
  Walked walked = Walk();
  ASSERT_EQ(walked.skipped.size(), 1U);
  EXPECT_EQ(walked.skipped.begin()->second, ENAMETOOLONG);
  for (const auto& [path, entry] : walked.entries) EXPECT_LT(path.size(), 4096U);
}

TEST_F(WalkTest, ManyEntriesTakeBoundedMemory) {
  sys::Fd dir = sys::Open(root_, O_RDONLY | O_DIRECTORY).value();
  constexpr int kCount = 100'000;
  for (int i = 0; i < kCount; ++i) {
    std::string name = "entry-with-a-name-of-usual-length-" + std::to_string(i);
    ASSERT_EQ(mknodat(dir.get(), name.c_str(), S_IFREG | 0600, 0), 0);
  }
  Client client(Connect());
  client.Send(protocol::Walk{.dir = root_});
  Walked walked;
  std::vector<std::string> parents;
  long peak_kb = 0;
  while (!walked.end) {
    auto frame = client.reader().Next();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    for (pid_t pid : Transfers()) peak_kb = std::max(peak_kb, AgentRssKb(pid));
    if ((*frame)->type == FrameType::kWalkEnd) {
      walked.end = protocol::Decode<protocol::WalkEnd>((*frame)->payload).value();
    } else {
      Note((*frame)->payload, &parents, &walked);
    }
  }
  EXPECT_EQ(walked.end->entries, static_cast<uint64_t>(kCount));
  EXPECT_EQ(walked.entries.size(), static_cast<size_t>(kCount) + 1);
  EXPECT_GT(peak_kb, 0);
  EXPECT_LT(peak_kb, 20'000);
  EXPECT_LT(AgentRssKb(agent_), 20'000);
}

TEST_F(WalkTest, ADirectoryThatCannotBeWalkedIsAnError) {
  EXPECT_EQ(WalkDir(root_ / "missing").error->code, Code::kNotFound);
  EXPECT_EQ(WalkDir(root_ / "missing").error->reason, "DIRECTORY_NOT_FOUND");
  Write(root_ / "file");
  EXPECT_EQ(WalkDir(root_ / "file").error->reason, "NOT_DIRECTORY");
  ASSERT_EQ(symlink(root_.c_str(), (dir_ / "link").c_str()), 0);
  EXPECT_EQ(WalkDir(dir_ / "link").error->code, Code::kInvalidArgument);
  EXPECT_EQ(WalkDir("/proc").error->code, Code::kInvalidArgument);
  EXPECT_EQ(WalkDir("/").error->code, Code::kInvalidArgument);
}

TEST_F(WalkTest, WhatARestoreKeepsForItselfIsHidden) {
  std::filesystem::create_directories(root_ / ".atoll-other");
  std::filesystem::create_directories(root_ / "d/.atoll-old-0123456789abcdef");
  std::filesystem::create_directories(root_ / ".atoll-old-0123456789abcdef");
  Walked walked = Walk();
  EXPECT_FALSE(walked.entries.contains(".atoll-old-0123456789abcdef"));
  EXPECT_TRUE(walked.entries.contains(".atoll-other"));
  EXPECT_TRUE(walked.entries.contains("d"));
  EXPECT_FALSE(walked.entries.contains("d/.atoll-old-0123456789abcdef"));
}

TEST_F(WalkTest, ATreeThatChangesIsWalkedToItsEnd) {
  for (int i = 0; i < 200; ++i) std::filesystem::create_directory(root_ / std::to_string(i));
  std::atomic<bool> stop = false;
  std::thread changer([&] {
    for (int i = 0; !stop; i = (i + 1) % 200) {
      std::filesystem::path dir = root_ / std::to_string(i);
      std::error_code ignored;
      std::filesystem::remove(dir, ignored);
      std::filesystem::create_symlink("/etc", dir, ignored);
      std::filesystem::remove(dir, ignored);
      std::filesystem::create_directory(dir, ignored);
    }
  });
  for (int round = 0; round < 50; ++round) {
    Walked walked = Walk();
    EXPECT_TRUE(walked.end.has_value());
    // A directory that became a link to another is never entered.
    for (const auto& [path, entry] : walked.entries) EXPECT_EQ(path.find('/'), std::string::npos);
  }
  stop = true;
  changer.join();
}

class WalkChildTest : public WalkTest {
 protected:
  // So much that a walk waits for a client that reads nothing.
  void FillMoreThanASocket() {
    std::filesystem::create_symlink(std::string(4000, 't'), root_ / "link");
    for (int i = 0; i < 2000; ++i) {
      std::filesystem::create_hard_link(root_ / "link", root_ / std::to_string(i));
    }
  }
};

TEST_F(WalkChildTest, EndsWithItsClient) {
  FillMoreThanASocket();
  size_t fds = AgentFds();
  {
    Client client(Connect());
    client.Send(protocol::Walk{.dir = root_});
    EXPECT_TRUE(Eventually([&] { return TransferSleeps(); }));
  }
  EXPECT_TRUE(Eventually([&] { return Transfers().empty(); }));
  EXPECT_TRUE(Eventually([&] { return AgentFds() == fds; }));
  EXPECT_TRUE(Walk().end.has_value());
}

TEST_F(WalkChildTest, WhenItIsKilledTheClientHearsOfIt) {
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  ASSERT_TRUE(Eventually([&] { return Transfers().size() == 1; }));
  kill(*Transfers().begin(), SIGKILL);
  Outcome outcome = Collect(&client);
  ASSERT_TRUE(outcome.error.has_value());
  EXPECT_EQ(outcome.error->code, Code::kResourceExhausted);
  EXPECT_TRUE(Client(Connect()).Ask<protocol::Ok>(protocol::Ping{}).has_value());
}

TEST_F(WalkChildTest, WhenItHasNoMemoryTheClientHearsOfIt) {
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  ASSERT_TRUE(Eventually([&] { return TransferSleeps(); }));
  rlimit none{.rlim_cur = 4096, .rlim_max = 4096};
  ASSERT_EQ(prlimit(*Transfers().begin(), RLIMIT_DATA, &none, nullptr), 0);
  protocol::RecordWriter writer;
  for (uint32_t tag = 0; tag < 20'000; ++tag) writer.Add(protocol::WantFile{tag, "some/path"});
  ASSERT_TRUE(client.SendData(FrameType::kTree, writer.payload()));
  Outcome outcome = Collect(&client);
  ASSERT_TRUE(outcome.error.has_value());
  EXPECT_EQ(outcome.error->code, Code::kResourceExhausted);
  EXPECT_TRUE(Eventually([&] { return Transfers().empty(); }));
  EXPECT_TRUE(Client(Connect()).Ask<protocol::Ok>(protocol::Ping{}).has_value());
}

TEST_F(WalkChildTest, NothingIsSaidBehindAFrameThatIsHalfSent) {
  FillMoreThanASocket();
  Client client(Connect());
  client.Send(protocol::Walk{.dir = root_});
  ASSERT_TRUE(Eventually([&] { return TransferSleeps(); }));
  kill(*Transfers().begin(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Transfers().empty(); }));
  Result<std::optional<protocol::Frame>> frame = std::nullopt;
  do {
    frame = client.reader().Next();
  } while (frame && *frame && (*frame)->type == FrameType::kTree);
  // Cut inside a frame, and not a frame that is none.
  ASSERT_FALSE(frame.has_value());
  EXPECT_EQ(frame.error().code, Code::kUnavailable);
}

TEST_F(WalkChildTest, ProgramsCannotLookIntoIt) {
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  ASSERT_TRUE(Eventually([&] { return Transfers().size() == 1; }));
  std::string proc = "/proc/" + std::to_string(*Transfers().begin());
  Client program(Connect());
  program.Send(Shell("cat " + proc + "/mem || readlink " + proc + "/fd/3 || echo refused"));
  EXPECT_EQ(Collect(&program).out, "refused\n");
  // It has its connection, and no other.
  size_t fds = 0;
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator(proc + "/fd")) ++fds;
  EXPECT_LE(fds, 5U);
}

}  // namespace
}  // namespace atl::agent
