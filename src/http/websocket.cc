// SPDX-License-Identifier: Apache-2.0
#include "http/websocket.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "json/reader.h"
#include "json/writer.h"

namespace atl::http {
namespace {

constexpr size_t kReadBytes = 64U << 10U;
constexpr size_t kKeyBytes = 16;
constexpr size_t kKeyChars = 24;
constexpr size_t kMaxRefusal = 64U << 10U;
constexpr std::chrono::milliseconds kGoodbye{2'000};
constexpr std::chrono::milliseconds kPingInterval{30'000};

std::string Base64(std::string_view bytes) {
  std::string text;
  json::AppendBase64(text, bytes);
  return text;
}

// What proves that a server understood the handshake (RFC 6455, 4.2.2).
std::string AcceptKey(std::string_view key) {
  std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  size_t size = 0;
  EVP_Q_digest(nullptr, "SHA1", nullptr, text.data(), text.size(), digest.data(), &size);
  return Base64({reinterpret_cast<const char*>(digest.data()), size});
}

// 16 bytes in base64: 22 characters and two of padding.
bool IsKey(std::string_view key) {
  auto is_base64 = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  };
  return key.size() == kKeyChars && key.ends_with("==") &&
         std::ranges::all_of(key.substr(0, kKeyChars - 2), is_base64);
}

template <size_t N>
std::array<char, N> RandomBytes() {
  std::array<char, N> bytes{};
  (void)!::getrandom(bytes.data(), bytes.size(), 0);
  return bytes;
}

Unexpected Required(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "UPGRADE_REQUIRED");
}

Error Refusal(const ResponseHead& head, std::string_view body) {
  Error error{.code = Code::kUnavailable,
              .message = fmt::format("the server answered with status {}", head.status)};
  Result<json::Object> object = json::Object::Parse(body);
  if (!object) return error;
  auto message = object->OptionalString("message");
  auto reason = object->OptionalString("code");
  if (message && *message) error.message = **message;
  if (reason && *reason) error.reason = **reason;
  return error;
}

}  // namespace

Result<void> CheckWebSocketHandshake(const RequestHead& request) {
  const Headers& headers = request.headers;
  if (!ListContains(headers.Joined("Connection"), "Upgrade") ||
      !ListContains(headers.Joined("Upgrade"), "websocket")) {
    return Required("this is a WebSocket: ask for an upgrade");
  }
  if (request.method != "GET" || request.minor_version == 0 || request.framing != Framing::kNone) {
    return Fail(Code::kInvalidArgument, "a WebSocket begins with a GET of HTTP/1.1 without a body",
                "INVALID_HANDSHAKE");
  }
  if (headers.Joined("Sec-WebSocket-Version") != "13") {
    return Required("only version 13 of WebSocket is spoken here");
  }
  if (headers.Count("Sec-WebSocket-Key") != 1 || !IsKey(*headers.Get("Sec-WebSocket-Key"))) {
    return Fail(Code::kInvalidArgument, "the handshake has no proper Sec-WebSocket-Key",
                "INVALID_HANDSHAKE");
  }
  return {};
}

async::Task<> RespondHandshakeError(Exchange& exchange, Error error) {
  ResponseHead head = ErrorHead(error);
  if (error.reason == "UPGRADE_REQUIRED") {
    head.status = 426;
    head.headers.Set("Upgrade", "websocket");
    head.headers.Set("Sec-WebSocket-Version", "13");
  }
  Result<void> sent = co_await exchange.Respond(std::move(head), ErrorBody(error));
  (void)sent;  // the client has gone away
}

WebSocket::WebSocket(Role role, async::Stream* stream, std::unique_ptr<Transport> transport,
                     size_t max_message)
    : role_(role),
      stream_(stream),
      transport_(std::move(transport)),
      parser_(role, max_message),
      piece_(kReadBytes) {}

async::Task<Result<std::unique_ptr<WebSocket>>> WebSocket::Accept(Exchange& exchange,
                                                                  size_t max_message) {
  CO_TRY(CheckWebSocketHandshake(exchange.request()));
  ResponseHead head{.status = 101};
  head.headers.Add("Upgrade", "websocket");
  head.headers.Add("Connection", "Upgrade");
  head.headers.Add("Sec-WebSocket-Accept",
                   AcceptKey(*exchange.request().headers.Get("Sec-WebSocket-Key")));
  std::string early;
  CO_ASSIGN(async::Stream * stream, co_await exchange.Upgrade(std::move(head), early));
  std::unique_ptr<WebSocket> socket(new WebSocket(Role::kServer, stream, nullptr, max_message));
  socket->parser_.Feed(early);
  co_return socket;
}

async::Task<Result<std::unique_ptr<WebSocket>>> WebSocket::Connect(
    std::unique_ptr<Transport> transport, RequestHead head, size_t max_message) {
  if (transport->stream() == nullptr) {
    co_return Fail(Code::kInvalidArgument, "a WebSocket client over TLS is not supported");
  }
  std::array<char, kKeyBytes> random = RandomBytes<kKeyBytes>();
  std::string key = Base64({random.data(), random.size()});
  head.method = "GET";
  head.headers.Set("Upgrade", "websocket");
  head.headers.Set("Connection", "Upgrade");
  head.headers.Set("Sec-WebSocket-Version", "13");
  head.headers.Set("Sec-WebSocket-Key", key);
  ClientRequest request(*transport);
  CO_TRY(co_await request.SendHead(std::move(head)));
  CO_ASSIGN(ResponseHead answer, co_await request.ReadHead());
  if (answer.status != 101) {
    CO_ASSIGN(std::string body, co_await request.ReadBody(kMaxRefusal));
    co_return Unexpected(Refusal(answer, body));
  }
  if (answer.headers.Joined("Sec-WebSocket-Accept") != AcceptKey(key)) {
    co_return Fail(Code::kBadGateway, "the server does not speak WebSocket");
  }
  async::Stream* stream = transport->stream();
  std::unique_ptr<WebSocket> socket(
      new WebSocket(Role::kClient, stream, std::move(transport), max_message));
  socket->parser_.Feed(request.TakeEarly());
  co_return socket;
}

async::Task<Result<WebSocketEvent>> WebSocket::NextEvent() {
  while (true) {
    CO_ASSIGN(std::optional<WebSocketEvent> event, parser_.Next());
    if (event) co_return *std::move(event);
    CO_ASSIGN(size_t n, co_await stream_->ReadSome(piece_));
    if (n == 0) co_return Fail(Code::kUnavailable, "the WebSocket ended without a close frame");
    heard_ = true;
    parser_.Feed({piece_.data(), n});
  }
}

async::Task<Result<std::optional<WebSocketMessage>>> WebSocket::Read() {
  while (true) {
    Result<WebSocketEvent> event = co_await NextEvent();
    if (!event) {
      Error error = std::move(event).error();
      if (parser_.close_code() != 0) co_await Close(parser_.close_code(), error.message);
      co_return Unexpected(std::move(error));
    }
    switch (event->opcode) {
      case Opcode::kPing: {
        CO_TRY(co_await Send(Opcode::kPong, event->data));
        break;
      }
      case Opcode::kPong:
        break;
      case Opcode::kClose: {
        close_received_ = true;
        uint16_t code = event->close_code == kCloseNone ? kCloseNormal : event->close_code;
        co_await Close(code, {});
        co_return std::nullopt;
      }
      default:
        co_return WebSocketMessage{.text = event->opcode == Opcode::kText,
                                   .data = std::move(event->data)};
    }
  }
}

async::Task<Result<void>> WebSocket::Send(Opcode opcode, std::string_view payload) {
  async::Mutex::Lock lock = co_await sending_.Acquire();
  if (close_sent_) co_return Fail(Code::kCancelled, "the WebSocket is closed");
  if (opcode == Opcode::kClose) close_sent_ = true;
  if (role_ == Role::kClient) {
    std::string frame = MaskedFrame(opcode, payload, RandomBytes<4>());
    Result<void> sent = co_await stream_->Write(frame);
    co_return sent;
  }
  std::string header = WebSocketHeader(opcode, payload.size());
  Result<void> sent = co_await stream_->Write2(header, payload);
  co_return sent;
}

async::Task<Result<void>> WebSocket::SendText(std::string_view text) {
  Result<void> sent = co_await Send(Opcode::kText, text);
  co_return sent;
}

async::Task<Result<void>> WebSocket::SendBinary(std::string_view bytes) {
  Result<void> sent = co_await Send(Opcode::kBinary, bytes);
  co_return sent;
}

// Until the peer has closed: what it still sends would turn our last words into a reset.
async::Task<> WebSocket::DrainInput() {
  while (true) {
    Result<size_t> n = co_await stream_->ReadSome(piece_);
    if (!n || *n == 0) co_return;
    if (close_received_ || parser_.close_code() != 0) continue;
    parser_.Feed({piece_.data(), *n});
    while (true) {
      Result<std::optional<WebSocketEvent>> event = parser_.Next();
      if (!event || !*event) break;
      if ((*event)->opcode == Opcode::kClose) close_received_ = true;
    }
    if (close_received_ && role_ == Role::kServer) co_return;
  }
}

namespace {

async::Task<> SendGoodbye(async::Task<Result<void>> send) {
  Result<void> sent = co_await std::move(send);
  (void)sent;  // the peer has gone away
}

}  // namespace

async::Task<> WebSocket::Close(uint16_t code, std::string_view reason) {
  std::string payload = ClosePayload(code, reason);
  if (!close_sent_) {
    co_await async::WithTimeout(kGoodbye, SendGoodbye(Send(Opcode::kClose, payload)));
  }
  stream_->ShutdownWrite();
  if (!close_received_) co_await async::WithTimeout(kGoodbye, DrainInput());
}

async::Task<> WebSocket::WatchPeer() {
  while (heard_) {
    heard_ = false;
    co_await async::Sleep(kPingInterval);
    Result<void> asked = co_await Send(Opcode::kPing, {});
    if (!asked) co_return;
    co_await async::Sleep(kPingInterval);
  }
}

}  // namespace atl::http
