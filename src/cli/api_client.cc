// SPDX-License-Identifier: Apache-2.0
#include "cli/api_client.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "async/runtime.h"
#include "json/reader.h"

namespace atl::cli {
namespace {

constexpr std::chrono::milliseconds kConnectTimeout{3'000};
constexpr size_t kMaxAnswer = 64UL << 20U;
constexpr size_t kMaxEvent = 16UL << 20U;

// The error of an API answer, or what can be said about one that is not the API's.
Error FromAnswer(int status, std::string_view body) {
  Error error{.code = Code::kInternal,
              .message = fmt::format("the daemon answered with status {}", status)};
  std::string message = StringField(body, "message");
  if (!message.empty()) error.message = message;
  error.reason = StringField(body, "code");
  return error;
}

Error NotRunning(const Error& cause) {
  return Error{.code = Code::kUnavailable,
               .message = fmt::format("no daemon answers ({}); start one with `atoll serve`",
                                      cause.message)};
}

}  // namespace

std::string StringField(std::string_view json, std::string_view name) {
  Result<json::Object> object = json::Object::Parse(json);
  if (!object) return {};
  Result<std::optional<std::string>> value = object->OptionalString(name);
  return value ? value->value_or("") : std::string();
}

Result<ApiClient> ApiClient::Connect(const Globals& globals) {
  ApiClient client;
  std::string address;
  if (!globals.url.empty()) {
    constexpr std::string_view kScheme = "http://";
    if (!globals.url.starts_with(kScheme)) {
      return Fail(Code::kInvalidArgument, "--url must begin with http://");
    }
    address = globals.url.substr(kScheme.size());
    address = address.substr(0, address.find('/'));
    client.host_ = address;
    if (address.starts_with("localhost:")) address.replace(0, 9, "127.0.0.1");
  } else {
    ASSIGN(daemon::Config config, ConfigOf(globals));
    // The daemon writes where it really listens: a configured port may be 0.
    Result<std::string> written = sys::ReadFile(config.run_dir + "/address", 256);
    address = written ? *written : config.listen.at(0);
    while (address.ends_with('\n')) address.pop_back();
    client.host_ = config.domain;
    size_t colon = address.rfind(':');
    if (colon != std::string::npos) client.host_ += address.substr(colon);
  }
  ASSIGN(client.endpoint_, async::ParseEndpoint(address));
  return client;
}

http::RequestHead ApiClient::Head(std::string method, std::string path) const {
  http::RequestHead head;
  head.method = std::move(method);
  head.target = std::move(path);
  head.headers.Add("Host", host_);
  head.headers.Add("Accept", "application/json");
  head.headers.Add("Connection", "close");
  return head;
}

async::Task<Result<std::string>> ApiClient::CallTask(http::RequestHead head,
                                                     std::string body) const {
  Result<async::Stream> stream = co_await async::ConnectTcp(endpoint_, kConnectTimeout);
  if (!stream) co_return std::unexpected(NotRunning(stream.error()));
  auto transport = http::PlainTransport(std::move(*stream));
  if (!body.empty()) head.headers.Add("Content-Type", "application/json");
  CO_ASSIGN(http::Response answer,
            co_await http::Fetch(*transport, std::move(head), std::move(body), kMaxAnswer));
  if (answer.head.status >= 300) {
    co_return std::unexpected(FromAnswer(answer.head.status, answer.body));
  }
  co_return std::move(answer.body);
}

Result<std::string> ApiClient::Call(std::string method, std::string path, std::string body) const {
  std::optional<Result<std::string>> result;
  auto run = [](const ApiClient& self, http::RequestHead head, std::string data,
                std::optional<Result<std::string>>& into) -> async::Task<> {
    Result<std::string> answer = co_await self.CallTask(std::move(head), std::move(data));
    into = std::move(answer);
  };
  async::RunToEnd(run(*this, Head(std::move(method), std::move(path)), std::move(body), result));
  return std::move(*result);
}

async::Task<Result<std::unique_ptr<http::WebSocket>>> ApiClient::OpenWebSocket(
    std::string path) const {
  Result<async::Stream> stream = co_await async::ConnectTcp(endpoint_, kConnectTimeout);
  if (!stream) co_return std::unexpected(NotRunning(stream.error()));
  auto transport = http::PlainTransport(std::move(*stream));
  http::RequestHead head = Head("GET", std::move(path));
  Result<std::unique_ptr<http::WebSocket>> socket =
      co_await http::WebSocket::Connect(std::move(transport), std::move(head));
  co_return socket;
}

async::Task<Result<std::string>> ApiClient::PostTask(http::RequestHead head,
                                                     std::string body) const {
  Result<async::Stream> stream = co_await async::ConnectTcp(endpoint_, kConnectTimeout);
  if (!stream) co_return std::unexpected(NotRunning(stream.error()));
  auto transport = http::PlainTransport(std::move(*stream));
  CO_ASSIGN(http::Response answer,
            co_await http::Fetch(*transport, std::move(head), std::move(body), kMaxAnswer));
  // An answer of the gateway is none of what is behind it.
  bool rpc = StringField(answer.body, "jsonrpc") == "2.0";
  if (answer.head.status >= 300 && !rpc) {
    co_return std::unexpected(FromAnswer(answer.head.status, answer.body));
  }
  co_return std::move(answer.body);
}

Result<std::string> ApiClient::Post(std::string path, http::Headers headers,
                                    std::string body) const {
  std::optional<Result<std::string>> result;
  auto run = [](const ApiClient& self, http::RequestHead head, std::string data,
                std::optional<Result<std::string>>& into) -> async::Task<> {
    Result<std::string> answer = co_await self.PostTask(std::move(head), std::move(data));
    into = std::move(answer);
  };
  http::RequestHead head = Head("POST", std::move(path));
  head.headers.Add("Content-Type", "application/json");
  for (auto& [name, value] : headers.fields()) head.headers.Add(name, value);
  async::RunToEnd(run(*this, std::move(head), std::move(body), result));
  return std::move(*result);
}

async::Task<Result<void>> ApiClient::StreamTask(http::RequestHead head, std::string body,
                                                const OnEvent& on_event) const {
  Result<async::Stream> stream = co_await async::ConnectTcp(endpoint_, kConnectTimeout);
  if (!stream) co_return std::unexpected(NotRunning(stream.error()));
  auto transport = http::PlainTransport(std::move(*stream));
  head.headers.Set("Accept", "text/event-stream");
  head.headers.Add("Content-Type", "application/json");
  head.framing = http::Framing::kLength;
  head.content_length = body.size();
  http::ClientRequest request(*transport);
  CO_TRY(co_await request.SendHead(std::move(head)));
  CO_TRY(co_await request.SendBody(body));
  CO_ASSIGN(http::ResponseHead answer, co_await request.ReadHead());
  if (answer.status >= 300) {
    CO_ASSIGN(std::string text, co_await request.ReadBody(kMaxAnswer));
    co_return std::unexpected(FromAnswer(answer.status, text));
  }
  if (answer.headers.Joined("Content-Type").starts_with("application/json")) {
    CO_ASSIGN(std::string text, co_await request.ReadBody(kMaxAnswer));
    on_event(text);
    co_return Result<void>();
  }
  std::vector<char> piece(64UL * 1024);
  std::string pending;
  while (true) {
    CO_ASSIGN(size_t n, co_await request.ReadSome(piece));
    if (n == 0) co_return Result<void>();
    pending.append(piece.data(), n);
    size_t begin = 0;
    for (size_t end = pending.find("\n\n"); end != std::string::npos;
         end = pending.find("\n\n", begin)) {
      std::string_view event = std::string_view(pending).substr(begin, end - begin);
      begin = end + 2;
      constexpr std::string_view kData = "data: ";
      if (event.starts_with(kData) && !on_event(event.substr(kData.size()))) {
        co_return Result<void>();
      }
    }
    pending.erase(0, begin);
    if (pending.size() > kMaxEvent) co_return Fail(Code::kBadGateway, "an event is too large");
  }
}

async::Task<Result<void>> ApiClient::DownloadTask(http::RequestHead head,
                                                  const OnPiece& on_piece) const {
  Result<async::Stream> stream = co_await async::ConnectTcp(endpoint_, kConnectTimeout);
  if (!stream) co_return std::unexpected(NotRunning(stream.error()));
  auto transport = http::PlainTransport(std::move(*stream));
  http::ClientRequest request(*transport);
  CO_TRY(co_await request.SendHead(std::move(head)));
  CO_TRY(co_await request.SendEnd());
  CO_ASSIGN(http::ResponseHead answer, co_await request.ReadHead());
  if (answer.status >= 300) {
    CO_ASSIGN(std::string text, co_await request.ReadBody(kMaxAnswer));
    co_return std::unexpected(FromAnswer(answer.status, text));
  }
  std::vector<char> piece(256UL * 1024);
  while (true) {
    CO_ASSIGN(size_t n, co_await request.ReadSome(piece));
    if (n == 0) co_return Result<void>();
    CO_TRY(on_piece(std::string_view(piece.data(), n)));
  }
}

Result<void> ApiClient::Download(std::string path, const OnPiece& on_piece) const {
  std::optional<Result<void>> result;
  auto run = [](const ApiClient& self, http::RequestHead head, const OnPiece& each,
                std::optional<Result<void>>& into) -> async::Task<> {
    Result<void> ended = co_await self.DownloadTask(std::move(head), each);
    into = std::move(ended);
  };
  async::RunToEnd(run(*this, Head("GET", std::move(path)), on_piece, result));
  return std::move(*result);
}

Result<void> ApiClient::Stream(std::string path, std::string body, const OnEvent& on_event) const {
  std::optional<Result<void>> result;
  auto run = [](const ApiClient& self, http::RequestHead head, std::string data,
                const OnEvent& each, std::optional<Result<void>>& into) -> async::Task<> {
    Result<void> ended = co_await self.StreamTask(std::move(head), std::move(data), each);
    into = std::move(ended);
  };
  async::RunToEnd(run(*this, Head("POST", std::move(path)), std::move(body), on_event, result));
  return std::move(*result);
}

}  // namespace atl::cli
