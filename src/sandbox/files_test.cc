// SPDX-License-Identifier: Apache-2.0
// Files of an agent that lies.
#include "sandbox/files.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <thread>

#include "async/runtime.h"
#include "protocol/connection.h"

namespace atl::sandbox {
namespace {

using protocol::FileOpened;
using protocol::FrameType;

class FilesTest : public testing::Test {
 protected:
  // What the fake agent does with a connection after its Hello and the request.
  using Behaviour = std::function<void(int socket, protocol::FrameReader& reader)>;

  void SetUp() override {
    dir_ = testing::TempDir() + "atoll-files-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override {
    if (agent_.joinable()) agent_.join();
    EXPECT_TRUE(sys::RemoveTree(dir_));
  }

  AgentClient Serve(Behaviour behaviour) {
    if (agent_.joinable()) agent_.join();
    std::string path = dir_ + "/agent.sock";
    ::unlink(path.c_str());
    sys::Fd listener = async::Listener::BindUnix(path).value();
    agent_ = std::thread([listener = std::move(listener), behaviour = std::move(behaviour)] {
      sys::Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      (void)protocol::Send(socket.get(), protocol::Hello{.boot_id = "boot"});
      protocol::FrameReader reader(socket.get());
      (void)reader.Next();
      behaviour(socket.get(), reader);
    });
    return AgentClient(path, {});
  }
  // An agent that passes this descriptor and stays until the client leaves.
  AgentClient Passes(int fd, FileInfo info = {}) {
    return Serve([fd, info](int socket, protocol::FrameReader& reader) {
      std::string frame = *protocol::Encode(FileOpened{.info = info, .descriptor = true});
      EXPECT_TRUE(protocol::SendWithFd(socket, frame, fd));
      (void)reader.Next();
    });
  }

  template <class T>
  T Wait(async::Task<T> task) {
    auto ended = std::make_shared<std::promise<T>>();
    auto result = ended->get_future();
    async::Spawn(runtime_.shard(1), Fulfil(std::move(task), ended), "a test");
    return result.get();
  }
  template <class T>
  static async::Task<> Fulfil(async::Task<T> task, std::shared_ptr<std::promise<T>> ended) {
    T result = co_await std::move(task);
    ended->set_value(std::move(result));
  }

  Result<FileContent> Read(AgentClient& client) {
    return Wait(ReadWholeFile(client, runtime_.blocking(), {.path = "x"}, 1U << 20U));
  }

  async::Runtime runtime_{2, 2};
  std::string dir_;
  std::thread agent_;
};

TEST_F(FilesTest, ReadsWhatTheDescriptorHoldsWhateverTheAgentSaysOfIt) {
  ASSERT_TRUE(sys::WriteFile(dir_ + "/file", "content"));
  sys::Fd fd = *sys::Open(dir_ + "/file", O_RDONLY);
  AgentClient client = Passes(fd.get(), {.size = uint64_t{1} << 50U});
  auto content = Read(client);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ(content->bytes, "content");
}

TEST_F(FilesTest, UsesNoDescriptorThatCouldKeepItWaiting) {
  ASSERT_EQ(::mkfifo((dir_ + "/fifo").c_str(), 0600), 0);
  ASSERT_TRUE(sys::WriteFile(dir_ + "/file", "content"));
  std::vector<sys::Fd> wrong;
  wrong.push_back(*sys::Open(dir_ + "/fifo", O_RDWR));
  wrong.push_back(*sys::Open("/dev/zero", O_RDONLY));
  wrong.push_back(*sys::Open(dir_, O_RDONLY | O_DIRECTORY));
  wrong.push_back(*sys::Open("/proc/self/status", O_RDONLY));
  wrong.push_back(*sys::Open(dir_ + "/file", O_PATH));
  wrong.push_back(*sys::Open(dir_ + "/file", O_WRONLY));
  wrong.push_back(std::move(sys::MakeSocketPair(SOCK_STREAM)->first));
  for (const sys::Fd& fd : wrong) {
    AgentClient client = Passes(fd.get());
    EXPECT_FALSE(Read(client));
    agent_.join();
  }
  sys::Fd reads = *sys::Open(dir_ + "/file", O_RDONLY);
  for (int fd : {reads.get(), wrong[0].get(), wrong[1].get()}) {
    AgentClient client = Passes(fd);
    EXPECT_FALSE(Wait(WriteWholeFile(client, runtime_.blocking(), {.path = "x"}, "new")));
    agent_.join();
  }
}

TEST_F(FilesTest, ADescriptorIsWhereItWasAnnouncedAndNowhereElse) {
  AgentClient without = Serve([](int socket, auto& reader) {
    (void)protocol::Send(socket, FileOpened{.descriptor = true});
    (void)reader.Next();
  });
  EXPECT_FALSE(Read(without));
  ASSERT_TRUE(sys::WriteFile(dir_ + "/file", "content"));
  sys::Fd fd = *sys::Open(dir_ + "/file", O_RDONLY);
  AgentClient unannounced = Serve([&](int socket, auto& reader) {
    (void)protocol::SendWithFd(socket, *protocol::Encode(FileOpened{}), fd.get());
    (void)reader.Next();
  });
  EXPECT_FALSE(Read(unannounced));
}

TEST_F(FilesTest, AFileThatShrinksIsAnErrorNotAShorterFile) {
  ASSERT_TRUE(sys::WriteFile(dir_ + "/file", "content"));
  sys::Fd fd = *sys::Open(dir_ + "/file", O_RDONLY);
  AgentClient client = Passes(fd.get());
  auto reader = Wait(OpenFile(client, runtime_.blocking(), {.path = "x"}));
  ASSERT_TRUE(reader);
  ASSERT_EQ(::truncate((dir_ + "/file").c_str(), 0), 0);
  EXPECT_FALSE(Wait((*reader)->Next()));
  reader->reset();
}

TEST_F(FilesTest, FramesHaveNoEndButOneThatIsBounded) {
  AgentClient client = Serve([](int socket, auto&) {
    (void)protocol::Send(socket, FileOpened{});
    std::string piece(1 << 16, 'x');
    while (protocol::SendData(socket, FrameType::kFileData, piece)) {
    }
  });
  auto content = Read(client);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().reason, "FILE_TOO_LARGE");
}

TEST_F(FilesTest, AListIsNotLongerThanWasAskedFor) {
  AgentClient client = Serve([](int socket, auto&) {
    protocol::Writer writer;
    for (int i = 0; i < 5; ++i) writer(FileEntry{.path = "p"});
    (void)protocol::SendData(socket, FrameType::kFileEntries, std::move(writer).Take());
    (void)protocol::Send(socket, protocol::ListEnd{});
  });
  EXPECT_FALSE(Wait(List(client, {.path = "x", .limit = 4})));
  AgentClient garbage = Serve([](int socket, auto&) {
    (void)protocol::SendData(socket, FrameType::kFileEntries, std::string(100, '\xff'));
    (void)protocol::Send(socket, protocol::ListEnd{});
  });
  EXPECT_FALSE(Wait(List(garbage, {.path = "x"})));
}

TEST_F(FilesTest, AnOlderAgentSaysThatItIsOne) {
  AgentClient client = Serve([](int socket, auto&) {
    (void)protocol::Send(socket, protocol::Failure{.code = Code::kInvalidArgument,
                                                   .message = "unknown frame type 101"});
  });
  auto content = Read(client);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().reason, "AGENT_TOO_OLD");
}

TEST_F(FilesTest, PathsAreAbsoluteOrOfTheWorkspace) {
  EXPECT_EQ(*AbsolutePath("a/b"), "/workspace/a/b");
  EXPECT_EQ(*AbsolutePath("/a"), "/a");
  EXPECT_FALSE(AbsolutePath(""));
  EXPECT_FALSE(AbsolutePath(std::string_view("a\0b", 3)));
  EXPECT_EQ(AbsolutePath(std::string(5000, 'x')).error().reason, "NAME_TOO_LONG");
}

}  // namespace
}  // namespace atl::sandbox
