// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server: connections in, exchanges out. Knows nothing of sandboxes.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/stream.h"
#include "async/task.h"
#include "http/message.h"

namespace atl::http {

// One request and its response. A handler answers exactly once: Respond, or StartResponse followed
// by Write... and Finish, or Upgrade. A handler that returns without an answer yields a 500.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const RequestHead& request() const = 0;
  virtual std::string peer() const = 0;

  // The next piece of the request's body; 0 at its end.
  virtual async::Task<Result<size_t>> ReadSome(std::span<char> buffer) = 0;
  // The whole body; kTooLarge past `limit`.
  virtual async::Task<Result<std::string>> ReadBody(size_t limit) = 0;

  // A whole response; Content-Length is set from `body`.
  virtual async::Task<Result<void>> Respond(ResponseHead head, std::string body) = 0;

  // Begins a streamed response. A Content-Length in `head` is kept and must be honoured; without
  // one the body is chunked (or ends with the connection for HTTP/1.0). HEAD gets no body.
  virtual async::Task<Result<void>> StartResponse(ResponseHead head) = 0;
  // The same, followed by Write: both go out together. `first` may be empty.
  virtual async::Task<Result<void>> StartResponseWith(ResponseHead head,
                                                      std::string_view first) = 0;
  // Goes out at once; returns when the socket has taken it (back-pressure).
  virtual async::Task<Result<void>> Write(std::string_view data) = 0;
  virtual async::Task<Result<void>> Finish() = 0;
  virtual bool response_started() const = 0;
  // Of the response that was begun; 0 before.
  virtual int status() const = 0;
  // What the answer had to wait for: goes out as Server-Timing with a head that is not yet sent.
  // `name` is a token.
  void AddTiming(std::string name, double ms) { timings_.emplace_back(std::move(name), ms); }
  // Goes out as X-Request-Id with the head of the answer.
  void SetRequestId(std::string id) { request_id_ = std::move(id); }
  const std::string& request_id() const { return request_id_; }
  // Sends an informational (1xx) head.
  virtual async::Task<Result<void>> Inform(ResponseHead head) = 0;

  // Sends `head` (101) and hands the connection over, with what was already read from it.
  virtual async::Task<Result<async::Stream*>> Upgrade(ResponseHead head, std::string& early) = 0;

  // The body can be read again from its beginning. False: what of it was read is gone, or the
  // answer has begun.
  virtual bool Rewind() { return false; }

  // The server is ending, or leaves to another: what would go on for long had better end.
  virtual bool draining() const { return false; }
  // Returns when the client has gone away. Only one wait at a time.
  virtual async::Task<> WaitForHangup() = 0;
  // The same as a call of `gone`, at most once and a second late at worst; an empty function ends
  // the watch.
  virtual void WatchHangup(std::function<void()> gone) = 0;
  // The response cannot be completed: cut the connection, so that the client does not take what it
  // has for the whole.
  virtual void Abort() = 0;

 protected:
  const std::vector<std::pair<std::string, double>>& timings() const { return timings_; }

 private:
  std::vector<std::pair<std::string, double>> timings_;
  std::string request_id_;
};

using Handler = std::function<async::Task<>(Exchange&)>;

struct ServerOptions {
  std::chrono::milliseconds head_timeout{30'000};  // first byte of a request to the end of its head
  std::chrono::milliseconds idle_timeout{120'000};   // between requests on a connection
  std::chrono::milliseconds write_timeout{120'000};  // one write that makes no progress
  size_t max_connections = 8192;
};

// Serves one connection until it closes. Malformed requests get `{code, message}` and a close.
async::Task<> ServeConnection(async::Stream stream, Handler handler, ServerOptions options);

// The listeners of one address on a shard, with a count of what is open, for draining.
class Server {
 public:
  Server(Handler handler, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts on `listen_fd`, spreading connections over `shards`. Returns once accepting.
  void Listen(sys::Fd listen_fd, const async::Executor& acceptor,
              std::function<async::Executor()> next_shard);
  // Closes the listeners, and connections after the answers that are under way; who connects to
  // another descriptor of the same socket waits there. Resume: Listen again.
  void StopAccepting();
  // Closes those that wait for a request; true when there is none left of any kind.
  bool CloseIdle();
  void Resume();
  // Closes the listeners and idle connections, waits until the others have ended, at most `limit`.
  async::Task<> Drain(std::chrono::milliseconds limit);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// What helps against errors of a code; "" when nothing is known to.
using Suggest = std::string_view (*)(std::string_view code);
// Called once, before anything is served.
void SetSuggest(Suggest suggest);

// Who may answer in the place of an error; false: nobody has.
using Elsewhere = std::function<async::Task<bool>(Exchange& exchange, const Error& error)>;
// Called once, before anything is served.
void SetElsewhere(Elsewhere elsewhere);
// To be asked before an error is answered: true when the exchange has been answered.
async::Task<bool> AnsweredElsewhere(Exchange& exchange, const Error& error);

// `{"code":…,"message":…}` with the error's status; behind them what could help ("suggestion") and
// which request it was ("context"), where that is known.
ResponseHead ErrorHead(const Error& error);
std::string ErrorBody(const Error& error, const Exchange* exchange = nullptr);
async::Task<> RespondError(Exchange& exchange, Error error);
// A JSON text with a status.
async::Task<Result<void>> RespondJson(Exchange& exchange, int status, std::string json);

}  // namespace atl::http
