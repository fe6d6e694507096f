// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <sys/un.h>

#include "agent/agent_fixture_test.h"
#include "protocol/ports.h"

namespace atl::agent {
namespace {

// Echoes one connection until its end, then says "bye".
class EchoService {
 public:
  EchoService() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      sys::Fd client(accept(listener_.get(), nullptr, nullptr));
      std::string buffer(65536, '\0');
      ssize_t count = 0;
      while ((count = read(client.get(), buffer.data(), buffer.size())) > 0) {
        (void)sys::WriteAll(client.get(), {buffer.data(), static_cast<size_t>(count)});
      }
      (void)sys::WriteAll(client.get(), "bye");
    });
  }
  ~EchoService() { thread_.join(); }
  uint32_t port() const { return port_; }

 private:
  sys::Fd listener_;
  uint32_t port_ = 0;
  std::thread thread_;
};

class DialTest : public AgentTest {};

TEST_F(DialTest, HandsTheConnectedSocketOver) {
  EchoService echo;
  sys::Fd service;
  {
    Client client(Connect());
    auto dialed = client.Ask<protocol::Dialed>(protocol::Dial{.port = echo.port()});
    ASSERT_TRUE(dialed.has_value()) << dialed.error().message;
    EXPECT_EQ(dialed->mode, protocol::DialMode::kDescriptor);
    service = client.reader().TakePassedFd();
  }
  ASSERT_TRUE(static_cast<bool>(service));
  fcntl(service.get(), F_SETFL, fcntl(service.get(), F_GETFL) & ~O_NONBLOCK);
  ASSERT_TRUE(sys::WriteAll(service.get(), "ping").has_value());
  shutdown(service.get(), SHUT_WR);
  std::string answer(7, '\0');
  EXPECT_EQ(recv(service.get(), answer.data(), answer.size(), MSG_WAITALL), 7);
  EXPECT_EQ(answer, "pingbye");
}

TEST_F(DialTest, RelaysWhereDescriptorsCannotTravel) {
  StopAgent();
  StartAgent({"--dial", "relay"});
  EchoService echo;
  Client client(Connect());
  EXPECT_EQ(client.hello().dial_mode, protocol::DialMode::kRelay);
  ASSERT_TRUE(client.Ask<protocol::Dialed>(protocol::Dial{.port = echo.port()}).has_value());
  std::string sent(5'000'000, 'r');
  std::thread feeder([&] {
    for (size_t at = 0; at < sent.size(); at += 123'456) {
      ASSERT_TRUE(client.SendData(FrameType::kRelay, std::string_view(sent).substr(at, 123'456))
                      .has_value());
    }
    client.SendEmpty(FrameType::kRelayEnd);
  });
  std::string received;
  while (true) {
    auto frame = client.reader().Next();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    if ((*frame)->type == FrameType::kRelayEnd) break;
    ASSERT_EQ((*frame)->type, FrameType::kRelay);
    received += (*frame)->payload;
  }
  feeder.join();
  EXPECT_TRUE(received == sent + "bye");
  EXPECT_FALSE(client.reader().Next().value().has_value());
}

TEST_F(DialTest, ALeavingClientEndsTheRelay) {
  StopAgent();
  StartAgent({"--dial", "relay"});
  EchoService echo;
  Client client(Connect());
  ASSERT_TRUE(client.Ask<protocol::Dialed>(protocol::Dial{.port = echo.port()}).has_value());
  client.Close();
  // The service sees the end of its connection: its thread ends, or this test never does.
}

TEST_F(DialTest, WhereNothingListensItSaysSo) {
  uint32_t port = 0;
  {
    sys::Fd unused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ASSERT_EQ(bind(unused.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    getsockname(unused.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  Client client(Connect());
  auto dialed = client.Ask<protocol::Dialed>(protocol::Dial{.port = port});
  ASSERT_FALSE(dialed.has_value());
  EXPECT_EQ(dialed.error().reason, "SERVICE_NOT_RESPONDING");
  Client nowhere(Connect());
  auto at_path = nowhere.Ask<protocol::Dialed>(protocol::DialPath{.path = "/nowhere/socket"});
  ASSERT_FALSE(at_path.has_value());
  EXPECT_EQ(at_path.error().reason, "SERVICE_NOT_RESPONDING");
  for (uint32_t wrong : {0U, 65536U, 0xffffffffU}) {
    Client another(Connect());
    auto answer = another.Ask<protocol::Dialed>(protocol::Dial{.port = wrong});
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, Code::kInvalidArgument);
  }
}

TEST_F(DialTest, ConnectsToAPathToo) {
  std::string path = "/tmp/atoll_dial_test." + std::to_string(getpid());
  sys::Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  Client client(Connect());
  auto dialed = client.Ask<protocol::Dialed>(protocol::DialPath{.path = path});
  unlink(path.c_str());
  ASSERT_TRUE(dialed.has_value()) << dialed.error().message;
  sys::Fd service = client.reader().TakePassedFd();
  sys::Fd accepted(accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(sys::WriteAll(accepted.get(), "hello").has_value());
  fcntl(service.get(), F_SETFL, fcntl(service.get(), F_GETFL) & ~O_NONBLOCK);
  std::string answer(5, '\0');
  EXPECT_EQ(recv(service.get(), answer.data(), answer.size(), MSG_WAITALL), 5);
  EXPECT_EQ(answer, "hello");
  for (const std::string& wrong : {std::string("relative"), std::string(), std::string(200, '/')}) {
    Client another(Connect());
    auto refused = another.Ask<protocol::Dialed>(protocol::DialPath{.path = wrong});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace atl::agent
