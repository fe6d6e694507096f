// SPDX-License-Identifier: Apache-2.0
#include "http/server.h"

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "base/log.h"
#include "http/connection.h"
#include "json/utf8.h"
#include "json/writer.h"
#include "metrics/atoll.h"

namespace atl::http {

async::Task<> ServeConnection(async::Stream stream, Handler handler, ServerOptions options) {
  Connection connection(std::move(stream), handler, options, nullptr);
  co_await connection.Serve();
}

struct Server::Impl {
  Handler handler;
  ServerOptions options;
  std::atomic<bool> draining = false;
  std::mutex guard;
  std::vector<std::pair<async::Executor, Connection*>> homes;
  std::vector<std::pair<async::Executor, std::shared_ptr<async::Listener>>> listeners;

  bool Full() {
    std::lock_guard lock(guard);
    return homes.size() >= options.max_connections;
  }
};

namespace {

constexpr size_t kMostPathShown = 200;
constexpr size_t kMostMessageBytes = 4096;

std::atomic<Suggest>& Suggestions() {
  static std::atomic<Suggest> suggest{nullptr};
  return suggest;
}

Elsewhere& ElsewhereOf() {
  static Elsewhere elsewhere;
  return elsewhere;
}

constexpr std::string_view kFullAnswer =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
    "Connection: close\r\n\r\n";

}  // namespace

Server::Server(Handler handler, ServerOptions options) : impl_(std::make_shared<Impl>()) {
  impl_->handler = std::move(handler);
  impl_->options = options;
}

Server::~Server() = default;

namespace {

template <class Impl>
async::Task<> ServeOnShard(std::shared_ptr<Impl> impl, sys::Fd fd) {
  async::Executor executor = co_await async::ThisExecutor();
  async::Stream stream(executor, std::move(fd));
  if (impl->Full()) {
    (void)co_await stream.Write(kFullAnswer);
    co_return;
  }
  Connection connection(std::move(stream), impl->handler, impl->options, &impl->draining);
  struct Registration {
    Impl& impl;
    Connection* connection;
    Registration(Impl& i, Connection* c, const async::Executor& e) : impl(i), connection(c) {
      std::lock_guard lock(impl.guard);
      impl.homes.emplace_back(e, c);
    }
    ~Registration() {
      std::lock_guard lock(impl.guard);
      std::erase_if(impl.homes, [&](const auto& home) { return home.second == connection; });
    }
  } registration(*impl, &connection, executor);
  co_await connection.Serve();
}

template <class Impl>
async::Task<> AcceptLoop(std::shared_ptr<Impl> impl, std::shared_ptr<async::Listener> listener,
                         std::function<async::Executor()> next_shard) {
  while (true) {
    Result<sys::Fd> fd = co_await listener->Accept();
    if (!fd) {
      if (fd.error().code != Code::kCancelled) log::Error("{}", fd.error().message);
      co_return;
    }
    async::Spawn(next_shard(), ServeOnShard(impl, std::move(*fd)), "serve a connection");
  }
}

// Runs on the connection's shard, where it cannot end while this looks at it.
template <class Impl>
async::Task<> CloseOneIdle(std::shared_ptr<Impl> impl, Connection* connection) {
  bool alive = false;
  {
    std::lock_guard lock(impl->guard);
    for (const auto& home : impl->homes) alive = alive || home.second == connection;
  }
  if (alive) connection->CloseIfIdle();
  co_return;
}

async::Task<> CloseListener(std::shared_ptr<async::Listener> listener) {
  listener->Close();
  co_return;
}

}  // namespace

void Server::Listen(sys::Fd listen_fd, const async::Executor& acceptor,
                    std::function<async::Executor()> next_shard) {
  auto listener = std::make_shared<async::Listener>(acceptor, std::move(listen_fd));
  impl_->listeners.emplace_back(acceptor, listener);
  async::Spawn(acceptor, AcceptLoop(impl_, listener, std::move(next_shard)), "accept");
}

void Server::StopAccepting() {
  impl_->draining = true;
  for (const auto& [executor, listener] : std::exchange(impl_->listeners, {})) {
    async::Spawn(executor, CloseListener(listener), "close a listener");
  }
}

bool Server::CloseIdle() {
  std::vector<std::pair<async::Executor, Connection*>> homes;
  {
    std::lock_guard lock(impl_->guard);
    homes = impl_->homes;
  }
  for (const auto& [executor, connection] : homes) {
    async::Spawn(executor, CloseOneIdle(impl_, connection), "close an idle connection");
  }
  return homes.empty();
}

void Server::Resume() { impl_->draining = false; }

async::Task<> Server::Drain(std::chrono::milliseconds limit) {
  StopAccepting();
  auto until = std::chrono::steady_clock::now() + limit;
  while (!CloseIdle() && std::chrono::steady_clock::now() < until) {
    co_await async::Sleep(std::chrono::milliseconds(20));
  }
}

ResponseHead ErrorHead(const Error& error) {
  ResponseHead head;
  head.status = HttpStatus(error.code);
  if (ReasonOf(error) == "HEADERS_TOO_LARGE") head.status = 431;
  if (ReasonOf(error) == "BUCKETS_UNAVAILABLE") head.status = 501;
  head.headers.Add("Content-Type", "application/json");
  head.headers.Add("Cache-Control", "no-store");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  if (head.status == 503) {
    // Somebody else has to end first.
    bool full = ReasonOf(error) == "CAPACITY_EXCEEDED";
    head.headers.Add("Retry-After", full ? "5" : "1");
  }
  return head;
}

void SetSuggest(Suggest suggest) { Suggestions() = suggest; }

std::string ErrorBody(const Error& error, const Exchange* exchange) {
  json::Writer body;
  std::string_view message = error.message;
  if (message.size() > kMostMessageBytes) {
    // It tells of the input, which may be of any size.
    message = message.substr(0, kMostMessageBytes);
    message.remove_suffix(json::IncompleteTail(message));
  }
  body.BeginObject().Field("code", ReasonOf(error)).Field("message", message);
  Suggest suggest = Suggestions().load();
  std::string_view suggestion = suggest == nullptr ? std::string_view() : suggest(ReasonOf(error));
  if (!suggestion.empty()) body.Field("suggestion", suggestion);
  if (exchange != nullptr && !exchange->request_id().empty()) {
    body.Key("context").BeginObject().Field("requestId", exchange->request_id());
    body.Field("method", exchange->request().method);
    body.Field("path", exchange->request().path().substr(0, kMostPathShown)).EndObject();
  }
  body.EndObject();
  return body.Take() + "\n";
}

void SetElsewhere(Elsewhere elsewhere) { ElsewhereOf() = std::move(elsewhere); }

async::Task<bool> AnsweredElsewhere(Exchange& exchange, const Error& error) {
  if (!ElsewhereOf() || exchange.response_started()) co_return false;
  bool answered = co_await ElsewhereOf()(exchange, error);
  co_return answered;
}

async::Task<> RespondError(Exchange& exchange, Error error) {
  bool answered = co_await AnsweredElsewhere(exchange, error);
  if (answered) co_return;
  const RequestHead& request = exchange.request();
  metrics::CountError(ReasonOf(error));
  if (HttpStatus(error.code) >= 500) {
    log::Warning("{} http://{}{}: {} [{}]", request.method, request.host, request.path(),
                 error.message, exchange.request_id());
  }
  if (exchange.response_started()) {
    exchange.Abort();
    co_return;
  }
  (void)co_await exchange.Respond(ErrorHead(error), ErrorBody(error, &exchange));
}

async::Task<Result<void>> RespondJson(Exchange& exchange, int status, std::string json) {
  ResponseHead head;
  head.status = status;
  head.headers.Add("Content-Type", "application/json");
  head.headers.Add("Cache-Control", "no-store");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  json += '\n';
  Result<void> sent = co_await exchange.Respond(std::move(head), std::move(json));
  co_return sent;
}

}  // namespace atl::http
