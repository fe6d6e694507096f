// SPDX-License-Identifier: Apache-2.0
// Both ends against each other over a socket pair, and the handshake.
#include "http/websocket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

#include "async/runtime.h"
#include "http/framing.h"

namespace atl::http {
namespace {

RequestHead Handshake() {
  return ParseRequestHead(
             "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
             "websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
      .value();
}

TEST(WebSocketHandshakeTest, IsCheckedStrictly) {
  EXPECT_TRUE(CheckWebSocketHandshake(Handshake()).has_value());
  auto reason = [](auto change) {
    RequestHead head = Handshake();
    change(head);
    auto checked = CheckWebSocketHandshake(head);
    return checked ? "" : checked.error().reason;
  };
  EXPECT_EQ(reason([](auto& head) { head.headers.Remove("Upgrade"); }), "UPGRADE_REQUIRED");
  EXPECT_EQ(reason([](auto& head) { head.headers.Set("Upgrade", "h2c"); }), "UPGRADE_REQUIRED");
  EXPECT_EQ(reason([](auto& head) { head.headers.Set("Connection", "close"); }),
            "UPGRADE_REQUIRED");
  EXPECT_EQ(reason([](auto& head) { head.headers.Set("Sec-WebSocket-Version", "8"); }),
            "UPGRADE_REQUIRED");
  EXPECT_EQ(reason([](auto& head) { head.method = "POST"; }), "INVALID_HANDSHAKE");
  EXPECT_EQ(reason([](auto& head) { head.minor_version = 0; }), "INVALID_HANDSHAKE");
  EXPECT_EQ(reason([](auto& head) { head.framing = Framing::kLength; }), "INVALID_HANDSHAKE");
  EXPECT_EQ(reason([](auto& head) { head.headers.Remove("Sec-WebSocket-Key"); }),
            "INVALID_HANDSHAKE");
  EXPECT_EQ(reason([](auto& head) { head.headers.Set("Sec-WebSocket-Key", "short"); }),
            "INVALID_HANDSHAKE");
  EXPECT_EQ(reason([](auto& head) { head.headers.Add("Sec-WebSocket-Key", "again"); }),
            "INVALID_HANDSHAKE");
}

// Says everything back; "bye" closes.
async::Task<> Echo(Exchange& exchange) {
  auto accepted = co_await WebSocket::Accept(exchange);
  if (!accepted) {
    co_await RespondHandshakeError(exchange, accepted.error());
    co_return;
  }
  WebSocket& socket = **accepted;
  while (true) {
    auto message = co_await socket.Read();
    if (!message || !*message) co_return;
    if ((*message)->data == "bye") {
      co_await socket.Close(3001, "as you wish");
      co_return;
    }
    Result<void> sent;
    if ((*message)->text) {
      sent = co_await socket.SendText((*message)->data);
    } else {
      sent = co_await socket.SendBinary((*message)->data);
    }
    if (!sent) co_return;
  }
}

using Body = async::Task<> (*)(std::unique_ptr<Transport> transport);

void Against(Body body) {
  async::RunToEnd([](Body client) -> async::Task<> {
    async::Executor executor = co_await async::ThisExecutor();
    auto fds = sys::MakeSocketPair(SOCK_STREAM).value();
    ServerOptions options;
    async::Stream server(executor, std::move(fds.second));
    async::Stream mine(executor, std::move(fds.first));
    co_await async::Both(ServeConnection(std::move(server), Echo, options),
                         client(PlainTransport(std::move(mine))));
  }(body));
}

RequestHead Ask() {
  RequestHead head;
  head.target = "/ws";
  head.headers.Add("Host", "h");
  return head;
}

TEST(WebSocketTest, SaysWhatWasSaidAndGoodbye) {
  Against([](std::unique_ptr<Transport> transport) -> async::Task<> {
    auto connected = co_await WebSocket::Connect(std::move(transport), Ask());
    if (!connected) {
      ADD_FAILURE() << connected.error().message;
      co_return;
    }
    WebSocket& socket = **connected;
    std::string large(300'000, 'z');
    (void)co_await socket.SendText("hello");
    (void)co_await socket.SendBinary(large);
    auto text = co_await socket.Read();
    auto binary = co_await socket.Read();
    EXPECT_TRUE(text && *text && (*text)->text && (*text)->data == "hello");
    EXPECT_TRUE(binary && *binary && !(*binary)->text && (*binary)->data == large);
    (void)co_await socket.SendText("bye");
    auto end = co_await socket.Read();
    EXPECT_TRUE(end.has_value() && !end->has_value());
  });
}

TEST(WebSocketTest, AServerThatHasNoneSaysSo) {
  Against([](std::unique_ptr<Transport> transport) -> async::Task<> {
    RequestHead head = Ask();
    head.method = "GET";
    auto answer = co_await Fetch(*transport, head, {}, 1000);
    EXPECT_EQ(answer.value().head.status, 426);
    EXPECT_EQ(answer.value().head.headers.Joined("Upgrade"), "websocket");
    transport->Close();
  });
}

TEST(WebSocketTest, WhoBreaksTheRulesIsToldHow) {
  Against([](std::unique_ptr<Transport> transport) -> async::Task<> {
    RequestHead head = Handshake();
    ClientRequest request(*transport);
    (void)co_await request.SendHead(head);
    auto answer = co_await request.ReadHead();
    EXPECT_EQ(answer.value().status, 101);
    EXPECT_EQ(answer.value().headers.Joined("Sec-WebSocket-Accept"),
              "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    // Not masked.
    std::string frame = WebSocketHeader(Opcode::kText, 2) + "hi";
    (void)co_await transport->Write(frame);
    std::vector<char> space(100);
    auto n = co_await transport->ReadSome(space);
    std::string_view said(space.data(), n.value());
    EXPECT_EQ(said.substr(0, 1), "\x88");
    EXPECT_EQ(said.substr(2, 2), "\x03\xea");
    transport->Close();
  });
}

}  // namespace
}  // namespace atl::http
