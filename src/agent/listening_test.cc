// SPDX-License-Identifier: Apache-2.0
#include "agent/listening.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

TEST(ListenerLineTest, ReadsBothFamilies) {
  auto v4 = ParseListener(
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
      "12345 1 0000000000000000 100 0 0 10 0");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->address, "127.0.0.1");
  EXPECT_EQ(v4->port, 8080U);
  EXPECT_EQ(v4->inode, 12345U);
  auto v6 = ParseListener(
      "  10: 00000000000000000000000001000000:FFFF 00000000000000000000000000000000:0000 0A "
      "00000000:00000000 00:00000000 00000000  1000        0 18446744073709551615 1 0 100 0 0 10 "
      "0");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->address, "::1");
  EXPECT_EQ(v6->port, 65535U);
}

TEST(ListenerLineTest, LeavesOutWhatDoesNotListen) {
  for (const char* line : {"", "   0:", "  sl  local_address rem_address   st",
                           "   0: 0100007F:1F90 0100007F:1F91 01 0:0 00:0 0 0 0 12345 1",
                           "   0: 0100007F 00000000:0000 0A 0:0 00:0 0 0 0 12345 1",
                           "   0: 01007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 12345 1",
                           "   0: 0100007F:1F901 00000000:0000 0A 0:0 00:0 0 0 0 12345 1",
                           "   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 -1 1"}) {
    EXPECT_FALSE(ParseListener(line)) << line;
  }
}

class ListeningTest : public AgentTest {};

// Whose a socket is shows only to who may look into its process; the agent may not look into ours.
TEST_F(ListeningTest, ListsWhatListens) {
  sys::Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  Client client(Connect());
  auto ports = client.Ask<protocol::Ports>(protocol::ListPorts{});
  ASSERT_TRUE(ports) << ports.error().message;
  uint32_t port = ntohs(address.sin_port);
  auto found = std::ranges::find(ports->ports, port, &protocol::ListeningPort::port);
  ASSERT_NE(found, ports->ports.end());
  EXPECT_EQ(found->address, "0.0.0.0");
}

}  // namespace
}  // namespace atl::agent
