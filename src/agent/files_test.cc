// SPDX-License-Identifier: Apache-2.0
// The requests about files, at the agent itself.
#include "protocol/files.h"

#include <sys/stat.h>

#include <algorithm>

#include "agent/agent_fixture_test.h"
#include "protocol/archive.h"
#include "protocol/messages.h"
#include "protocol/watch.h"

namespace atl::agent {
namespace {

using protocol::FileInfo;
using protocol::FileOpened;

class FilesTest : public AgentTest {
 protected:
  std::string Path(const std::string& name) const { return (dir_ / name).string(); }

  template <class M>
  std::string ReasonOf(const M& request) {
    Client client(Connect());
    client.Send(request);
    auto answer = client.Expect<FileInfo>();
    return answer ? "" : answer.error().reason;
  }

  size_t Entries() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& one : std::filesystem::directory_iterator(dir_)) ++count;
    return count;
  }
};

TEST_F(FilesTest, AWriterWritesToAFileThatNobodySeesUntilItCommits) {
  size_t before = Entries();
  Client client(Connect());
  auto opened = client.Ask<FileOpened>(protocol::WriteFile{.path = Path("new")});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_FALSE(opened->existed);
  ASSERT_TRUE(opened->descriptor);
  sys::Fd fd = client.reader().TakePassedFd();
  ASSERT_TRUE(sys::WriteAll(fd.get(), "content"));
  EXPECT_EQ(Entries(), before);
  client.SendEmpty(FrameType::kFileCommit);
  auto info = client.Expect<FileInfo>();
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->size, 7U);
  EXPECT_EQ(info->mode, 0644U);
  EXPECT_EQ(Slurp(dir_ / "new"), "content");
}

TEST_F(FilesTest, AWriterThatLeavesLeavesNothing) {
  size_t before = Entries();
  {
    Client client(Connect());
    auto opened = client.Ask<FileOpened>(protocol::WriteFile{.path = Path("new")});
    ASSERT_TRUE(opened);
    sys::Fd fd = client.reader().TakePassedFd();
    (void)sys::WriteAll(fd.get(), "content");
  }
  EXPECT_TRUE(Eventually([&] { return AgentFds() < 64; }));
  EXPECT_EQ(Entries(), before);
}

TEST_F(FilesTest, ContentMayComeInFramesToo) {
  Client client(Connect());
  auto opened = client.Ask<FileOpened>(protocol::WriteFile{.path = Path("framed")});
  ASSERT_TRUE(opened);
  ASSERT_TRUE(client.SendData(FrameType::kFileData, "some "));
  ASSERT_TRUE(client.SendData(FrameType::kFileData, "bytes"));
  client.SendEmpty(FrameType::kFileCommit);
  ASSERT_TRUE(client.Expect<FileInfo>());
  EXPECT_EQ(Slurp(dir_ / "framed"), "some bytes");
}

TEST_F(FilesTest, ReadersGetADescriptorOfFilesAndFramesOfTheKernels) {
  ASSERT_TRUE(sys::WriteFile(Path("file"), "text"));
  Client client(Connect());
  auto opened = client.Ask<FileOpened>(protocol::ReadFile{.path = Path("file")});
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_TRUE(opened->descriptor);
  sys::Fd fd = client.reader().TakePassedFd();
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  Client kernel(Connect());
  auto status = kernel.Ask<FileOpened>(protocol::ReadFile{.path = "/proc/self/status"});
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->descriptor);
  EXPECT_FALSE(static_cast<bool>(kernel.reader().TakePassedFd()));
  std::string text;
  while (true) {
    auto frame = kernel.reader().Next();
    ASSERT_TRUE(frame && *frame);
    if ((*frame)->type == FrameType::kEnd) break;
    ASSERT_EQ((*frame)->type, FrameType::kFileData);
    text += (*frame)->payload;
  }
  EXPECT_NE(text.find("Name:"), std::string::npos);
}

TEST_F(FilesTest, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("loop", Path("loop"));
  std::filesystem::create_symlink("/proc/self/fd/3", Path("magic"));
  auto reason = [&](const std::string& path) { return ReasonOf(protocol::ReadFile{.path = path}); };
  EXPECT_EQ(reason(Path("fifo")), "NOT_REGULAR_FILE");
  EXPECT_EQ(reason("/dev/null"), "NOT_REGULAR_FILE");
  EXPECT_EQ(reason(Path("")), "IS_DIRECTORY");
  EXPECT_EQ(reason(Path("loop")), "TOO_MANY_LINKS");
  EXPECT_EQ(reason(Path("magic")), "TOO_MANY_LINKS");
  EXPECT_EQ(reason("/proc/self/exe"), "TOO_MANY_LINKS");
  EXPECT_EQ(reason(Path("none")), "FILE_NOT_FOUND");
  EXPECT_EQ(reason("/" + std::string(5000, 'x')), "NAME_TOO_LONG");
}

TEST_F(FilesTest, TheAgentsOwnMemoryIsNoFileToWrite) {
  for (const char* path : {"/proc/self/mem", "/proc/self/oom_score_adj", "/proc/self/comm"}) {
    Client client(Connect());
    client.Send(protocol::WriteFile{.path = path});
    EXPECT_FALSE(client.Expect<FileOpened>()) << path;
  }
}

TEST_F(FilesTest, WhoIsSomebodyElseHasNoRightsOfRoot) {
  ASSERT_TRUE(sys::WriteFile(Path("secret"), "s", 0600));
  ASSERT_EQ(chmod(dir_.c_str(), 0755), 0);
  Client client(Connect());
  client.Send(protocol::ReadFile{.path = Path("secret"), .user = "1000"});
  auto opened = client.Expect<FileOpened>();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason, "PERMISSION_DENIED");
  EXPECT_EQ(ReasonOf(protocol::StatFile{.path = "/", .user = "no such user"}), "USER_NOT_FOUND");
  EXPECT_EQ(ReasonOf(protocol::MakeDir{.path = Path("d"), .user = "1000"}), "PERMISSION_DENIED");
}

TEST_F(FilesTest, AWatcherHearsOfChangesAndNothingIsLeftWhenItLeaves) {
  std::filesystem::create_directory(dir_ / "w");
  {
    Client client(Connect());
    auto watching = client.Ask<protocol::Watching>(protocol::WatchFiles{.path = Path("w")});
    ASSERT_TRUE(watching) << watching.error().message;
    std::filesystem::create_directories(dir_ / "w/a/b");
    ASSERT_TRUE(sys::WriteFile(Path("w/a/b/file"), "x"));
    bool seen = false;
    while (!seen) {
      auto frame = client.reader().Next();
      ASSERT_TRUE(frame && *frame);
      ASSERT_EQ((*frame)->type, FrameType::kFileEvents);
      protocol::Reader reader((*frame)->payload);
      while (!reader.rest().empty()) {
        protocol::FileEvent event;
        reader(event);
        ASSERT_TRUE(reader.ok());
        seen = seen || event.path == "a/b/file";
      }
    }
  }
  // The spawner alone is left, in whichever thread's children.
  EXPECT_TRUE(Eventually([&] {
    std::string status =
        Slurp("/proc/" + std::to_string(agent_) + "/task/" + std::to_string(agent_) + "/children");
    return std::count(status.begin(), status.end(), ' ') <= 1;
  }));
}

}  // namespace
}  // namespace atl::agent
