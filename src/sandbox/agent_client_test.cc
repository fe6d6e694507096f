// SPDX-License-Identifier: Apache-2.0
// The client against an agent that lies.
#include "sandbox/agent_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <functional>
#include <future>
#include <thread>

#include "async/runtime.h"
#include "protocol/connection.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;
using std::chrono::milliseconds;
using testing::HasSubstr;

// A TCP listener on 127.0.0.1.
struct TcpServer {
  TcpServer() {
    fd = async::Listener::BindTcp({.address = "127.0.0.1", .port = 0}).value();
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  sys::Fd Connect() const {
    sys::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return client;
  }
  sys::Fd fd;
  uint16_t port = 0;
};

class AgentClientTest : public testing::Test {
 protected:
  // What the fake agent does with a connection after its Hello and the request.
  using Behaviour = std::function<void(int socket, protocol::FrameReader& reader)>;

  void SetUp() override {
    dir_ = testing::TempDir() + "atoll-agent-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override {
    if (agent_.joinable()) agent_.join();
    EXPECT_TRUE(sys::RemoveTree(dir_));
  }

  AgentClient Serve(Behaviour behaviour, protocol::Hello hello = {.boot_id = "boot"}) {
    std::string path = dir_ + "/agent.sock";
    sys::Fd listener = async::Listener::BindUnix(path).value();
    agent_ = std::thread([listener = std::move(listener), behaviour = std::move(behaviour),
                          hello = std::move(hello)] {
      sys::Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      (void)protocol::Send(socket.get(), hello);
      protocol::FrameReader reader(socket.get());
      (void)reader.Next();
      behaviour(socket.get(), reader);
    });
    return AgentClient(path, {});
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

  static void PassDescriptor(int socket, int fd) {
    std::string frame = *protocol::Encode(protocol::Dialed{});
    EXPECT_TRUE(protocol::SendWithFd(socket, frame, fd));
  }

  async::Runtime runtime_{2, 1};
  std::string dir_;
  std::thread agent_;
};

TEST_F(AgentClientTest, DialTakesTheConnectionItAskedFor) {
  TcpServer server;
  sys::Fd connected = server.Connect();
  AgentClient client = Serve([&](int socket, auto&) { PassDescriptor(socket, connected.get()); });
  auto stream = Wait(client.Dial(server.port));
  ASSERT_TRUE(stream) << stream.error().message;
}

TEST_F(AgentClientTest, DialRefusesAnyOtherDescriptor) {
  TcpServer server;
  TcpServer other;
  sys::Fd elsewhere = other.Connect();
  sys::Fd unconnected(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sys::Fd datagram(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto pair = *sys::MakeSocketPair(SOCK_STREAM);
  sys::Fd file = *sys::Open("/dev/null", O_RDWR);
  for (int fd : {elsewhere.get(), unconnected.get(), datagram.get(), pair.first.get(), file.get(),
                 server.fd.get()}) {
    AgentClient client = Serve([fd](int socket, auto&) { PassDescriptor(socket, fd); });
    auto stream = Wait(client.Dial(server.port));
    EXPECT_FALSE(stream);
    agent_.join();
  }
  AgentClient client =
      Serve([](int socket, auto&) { (void)protocol::Send(socket, protocol::Dialed{}); });
  EXPECT_FALSE(Wait(client.Dial(server.port))) << "no descriptor at all";
}

TEST_F(AgentClientTest, DialRefusesTwoDescriptors) {
  TcpServer server;
  sys::Fd connected = server.Connect();
  AgentClient client = Serve([&](int socket, auto&) {
    std::string frame = *protocol::Encode(protocol::Dialed{});
    EXPECT_TRUE(protocol::SendWithFd(socket, frame.substr(0, 3), connected.get()));
    (void)protocol::SendWithFd(socket, frame.substr(3), connected.get());
  });
  EXPECT_FALSE(Wait(client.Dial(server.port)));
}

async::Task<Result<std::string>> Exchange(AgentClient& client, uint16_t port) {
  CO_ASSIGN(async::Stream stream, co_await client.Dial(port));
  CO_TRY(co_await stream.Write("question"));
  stream.ShutdownWrite();
  std::string answer;
  std::vector<char> buffer(1000);
  while (true) {
    CO_ASSIGN(size_t n, co_await stream.ReadSome(buffer));
    if (n == 0) co_return answer;
    answer.append(buffer.data(), n);
  }
}

TEST_F(AgentClientTest, WhereDescriptorsCannotTravelTheStreamIsRelayed) {
  std::string asked;
  AgentClient client = Serve([&](int socket, protocol::FrameReader& reader) {
    (void)protocol::Send(socket, protocol::Dialed{.mode = protocol::DialMode::kRelay});
    while (true) {
      auto frame = reader.Next();
      if (!frame || !*frame || (*frame)->type == FrameType::kRelayEnd) break;
      asked.append((*frame)->payload);
    }
    (void)protocol::SendData(socket, FrameType::kRelay, "an");
    (void)protocol::SendData(socket, FrameType::kRelay, "swer");
    (void)protocol::SendData(socket, FrameType::kRelayEnd, "");
    (void)reader.Next();
  });
  auto answer = Wait(Exchange(client, 80));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(*answer, "answer");
  agent_.join();
  EXPECT_EQ(asked, "question");
}

TEST_F(AgentClientTest, AVersionOlderThanAnyIsRefused) {
  AgentClient client = Serve([](int, auto&) {}, {.version = 0});
  auto ready = Wait(client.WaitReady(milliseconds(5000)));
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, Code::kFailedPrecondition);
}

TEST_F(AgentClientTest, AnAgentThatSaysNothingIsNotWaitedForForever) {
  std::promise<void> done;
  AgentClient client = Serve([&](int, auto&) { done.get_future().wait(); });
  auto ready = Wait(client.WaitReady(milliseconds(50)));
  done.set_value();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, Code::kUnavailable);
}

TEST_F(AgentClientTest, GarbageAndCutFramesAreErrors) {
  for (const std::string& bytes :
       {std::string(64, '\xff'), std::string("\x31\0\0\0\xff\xff\xff\xff", 8),
        std::string("\x31\0\0\0\x10\0\0\0abc", 11), std::string()}) {
    AgentClient client =
        Serve([bytes](int socket, auto&) { (void)protocol::SendBytes(socket, bytes); });
    EXPECT_FALSE(Wait(client.Spawn({.argv = {"x"}})));
    agent_.join();
  }
}

TEST_F(AgentClientTest, ErrorsFromInsideAreCleaned) {
  AgentClient client = Serve([](int socket, auto&) {
    protocol::Failure failure{.code = Code::kNotFound, .reason = "bad reason\n"};
    failure.message = "line\nbreak\x1b[31m " + std::string(100'000, 'x');
    (void)protocol::Send(socket, failure);
  });
  auto process = Wait(client.Spawn({.argv = {"x"}}));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, Code::kNotFound);
  EXPECT_EQ(process.error().reason, "");
  EXPECT_THAT(process.error().message, HasSubstr("line break [31m x"));
  EXPECT_LT(process.error().message.size(), 5000U);
}

TEST_F(AgentClientTest, AnAgentThatIsGoneIsUnavailable) {
  AgentClient client(dir_ + "/nobody.sock", {});
  auto process = Wait(client.Spawn({.argv = {"x"}}));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, Code::kUnavailable);
  EXPECT_EQ(process.error().reason, "CONTAINER_UNAVAILABLE");
}

}  // namespace
}  // namespace atl::sandbox
