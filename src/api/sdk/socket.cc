// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/sdk/socket_exchange.h"
#include "api/sdk/terms.h"
#include "api/seed/actions.h"
#include "async/mutex.h"
#include "http/websocket.h"
#include "json/reader.h"

namespace atl::api::sdk {
namespace {

constexpr size_t kMostAround = 64UL << 10U;  // of a message, around its body
constexpr size_t kMostId = 128;
constexpr size_t kMostPath = 8192;
// Of one connection at a time: requests, and bytes of their bodies.
constexpr size_t kMostRequests = 256;
constexpr size_t kMostBytes = 64UL << 20U;
constexpr size_t kMostDepth = 40;  // a body has a limit of its own
constexpr std::array<std::string_view, 5> kMethods = {"GET", "POST", "PUT", "PATCH", "DELETE"};
constexpr std::chrono::seconds kLook{1};
constexpr int kLooksPerSign = 60;

struct Connection {
  Connection(http::WebSocket& over, http::Exchange& of, Dispatch with)
      : socket(over), outer(of), dispatch(std::move(with)) {}

  http::WebSocket& socket;
  http::Exchange& outer;
  Dispatch dispatch;
  std::map<std::string, std::shared_ptr<SocketExchange>, std::less<>> open;
  size_t bytes = 0;
  async::Event empty;  // once it ends
  bool ends = false;
};

async::Task<> Run(std::shared_ptr<Connection> connection, std::shared_ptr<SocketExchange> request) {
  co_await connection->dispatch(*request);
  co_await request->Conclude();
  connection->bytes -= request->body_size();
  connection->open.erase(request->id());
  if (connection->ends && connection->open.empty()) connection->empty.Set();
}

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

Result<std::string> IdOf(const json::Object& message) {
  ASSIGN(std::string id, message.Text("id"));
  if (!id.empty() && id.size() <= kMostId) return id;
  return Invalid(fmt::format("\"id\" must have 1 to {} bytes", kMostId));
}

Result<http::RequestHead> HeadOf(const json::Object& message, const http::RequestHead& outer) {
  http::RequestHead head;
  ASSIGN(head.method, message.Text("method"));
  if (std::ranges::find(kMethods, head.method) == kMethods.end()) {
    return Invalid("\"method\" is GET, POST, PUT, PATCH or DELETE");
  }
  ASSIGN(head.target, message.Text("path"));
  bool plain = std::ranges::all_of(head.target, [](char c) { return c > ' ' && c <= '~'; });
  if (!plain || !head.target.starts_with('/') || head.target.size() > kMostPath) {
    return Invalid("\"path\" must be the path of a URL, percent-encoded");
  }
  head.host = outer.host;
  return head;
}

std::string Refusal(std::string_view id, const Error& error) {
  return ErrorFrame(id, ReasonOf(error), error.message, HttpStatus(error.code));
}

// A message that is refused, as the frame that says so.
std::optional<std::string> Begin(const std::shared_ptr<Connection>& connection,
                                 const json::Object& message, const async::Executor& executor) {
  Result<std::string> id = IdOf(message);
  if (!id) return Refusal({}, id.error());
  Result<http::RequestHead> head = HeadOf(message, connection->outer.request());
  if (!head) return Refusal(*id, head.error());
  std::string body = message.OptionalJson("body").value_or("");
  bool many = connection->open.size() >= kMostRequests;
  if (many || connection->bytes + body.size() > kMostBytes) {
    return ErrorFrame(*id, "RESOURCE_BUSY", "too many requests of this connection are under way",
                      429);
  }
  if (connection->open.contains(*id)) {
    return ErrorFrame({}, "VALIDATION_FAILED", "a request with this id is under way", 400);
  }
  connection->bytes += body.size();
  auto request = std::make_shared<SocketExchange>(connection->socket, connection->outer, *id,
                                                  *std::move(head), std::move(body));
  request->SetRequestId(connection->outer.request_id());
  connection->open.emplace(*std::move(id), request);
  async::Spawn(executor, Run(connection, std::move(request)), "a request of a WebSocket");
  return std::nullopt;
}

std::optional<std::string> Take(const std::shared_ptr<Connection>& connection,
                                const http::WebSocketMessage& said,
                                const async::Executor& executor) {
  if (!said.text) return ErrorFrame({}, "VALIDATION_FAILED", "messages are JSON text", 400);
  json::Limits limits{.max_bytes = kMostUploadBody + kMostAround, .max_depth = kMostDepth};
  Result<json::Object> message = json::Object::Parse(said.data, false, limits);
  if (!message) return Refusal({}, message.error());
  Result<std::string> type = message->Text("type");
  if (!type) return Refusal({}, type.error());
  if (*type == "request") return Begin(connection, *message, executor);
  if (*type != "cancel") {
    return ErrorFrame({}, "VALIDATION_FAILED", "\"type\" is \"request\" or \"cancel\"", 400);
  }
  Result<std::string> id = IdOf(*message);
  if (!id) return Refusal({}, id.error());
  auto found = connection->open.find(*id);
  if (found != connection->open.end()) found->second->Leave();
  return std::nullopt;
}

async::Task<> ReadRequests(std::shared_ptr<Connection> connection) {
  async::Executor executor = co_await async::ThisExecutor();
  while (true) {
    Result<std::optional<http::WebSocketMessage>> message = co_await connection->socket.Read();
    if (!message || !*message) co_return;
    std::optional<std::string> refusal = Take(connection, **message, executor);
    if (!refusal) continue;
    Result<void> sent = co_await connection->socket.SendText(*refusal);
    if (!sent) co_return;
  }
}

// Ends when the daemon does and nothing is under way.
async::Task<> Tend(std::shared_ptr<Connection> connection) {
  for (int look = 1;; ++look) {
    co_await async::Sleep(kLook);
    if (connection->outer.draining() && connection->open.empty()) co_return;
    if (look % kLooksPerSign != 0) continue;
    std::vector<std::shared_ptr<SocketExchange>> open;
    for (const auto& [id, request] : connection->open) open.push_back(request);
    for (const auto& request : open) co_await request->StayAlive();
  }
}

}  // namespace

async::Task<> ServeSocket(Dispatch dispatch, http::Exchange& exchange) {
  Result<void> asked = http::CheckWebSocketHandshake(exchange.request());
  if (!asked) {
    co_await http::RespondHandshakeError(exchange, std::move(asked).error());
    co_return;
  }
  auto socket = co_await http::WebSocket::Accept(exchange, kMostUploadBody + kMostAround);
  if (!socket) co_return;  // the client has gone away
  auto connection = std::make_shared<Connection>(**socket, exchange, std::move(dispatch));
  co_await async::Race(async::Race(ReadRequests(connection), Tend(connection)),
                       (*socket)->WatchPeer());
  // What is under way uses the connection: it is waited for, whoever does not want to.
  co_await async::DisableCancellation();
  connection->ends = true;
  std::vector<std::shared_ptr<SocketExchange>> open;
  for (const auto& [id, request] : connection->open) open.push_back(request);
  for (const auto& request : open) request->Leave();
  open.clear();
  if (!connection->open.empty()) co_await connection->empty.Wait();
  co_await (*socket)->Close(http::kCloseNormal, {});
}

}  // namespace atl::api::sdk
