// SPDX-License-Identifier: Apache-2.0
#include "http/connection.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "http/framing.h"
#include "http/request_id.h"
#include "http/scratch.h"
#include "metrics/atoll.h"

namespace atl::http {
namespace {

// How long a connection may take to its first request before it counts as idle.
constexpr std::chrono::milliseconds kFresh{300};

// How much of a request body that nobody wants is read so that the answer is not lost to a reset.
constexpr size_t kLingerBytes = 4UL << 20U;
constexpr std::chrono::milliseconds kLingerTime{2'000};
// A body that has been read as a whole is kept up to this size, for Rewind.
constexpr size_t kKeptBody = 1UL << 20U;

void WatchPeer(int fd, std::chrono::milliseconds limit) {
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  // A peer that has vanished is noticed although nothing is read: unacknowledged data times out.
  auto timeout = static_cast<unsigned>(limit.count());
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

}  // namespace

class Connection::ExchangeImpl : public Exchange {
 public:
  ExchangeImpl(Connection& connection, RequestHead head)
      : connection_(connection),
        head_(std::move(head)),
        body_(head_.framing, head_.content_length),
        keep_alive_(head_.keep_alive) {}

  const RequestHead& request() const override { return head_; }
  std::string peer() const override {
    if (connection_.peer_.empty()) connection_.peer_ = connection_.stream_.PeerName();
    return connection_.peer_;
  }

  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override {
    if (replayed_ < kept_.size()) {
      size_t again = kept_.copy(buffer.data(), buffer.size(), replayed_);
      replayed_ += again;
      co_return again;
    }
    Result<size_t> n = co_await ReadNew(buffer);
    lost_ = lost_ || !n || *n > 0;
    co_return n;
  }

  async::Task<Result<size_t>> ReadNew(std::span<char> buffer) {
    if (!continued_ && !started_ && head_.minor_version == 1 && !body_.at_end() &&
        ListContains(head_.headers.Joined("Expect"), "100-continue")) {
      continued_ = true;
      CO_TRY(co_await connection_.stream_.Write("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    ReadFunction read = [this](std::span<char> out) { return connection_.TimedRead(out); };
    Result<size_t> n = co_await body_.Read(connection_.buffer_, read, buffer);
    if (!n) keep_alive_ = false;
    co_return n;
  }

  async::Task<Result<std::string>> ReadBody(size_t limit) override {
    auto too_large = [&] {
      return Fail(Code::kTooLarge, fmt::format("the request's body is above {} bytes", limit));
    };
    if (head_.framing == Framing::kLength && head_.content_length > limit) co_return too_large();
    std::string body;
    const bool whole = !lost_ && kept_.empty();
    std::vector<char> piece(head_.framing == Framing::kNone ? 1 : 32UL * 1024);
    while (true) {
      Result<size_t> n = co_await ReadNew(piece);
      if (!n || *n > 0) lost_ = true;
      if (!n) co_return std::unexpected(std::move(n).error());
      if (*n == 0) break;
      if (body.size() + *n > limit) co_return too_large();
      body.append(piece.data(), *n);
    }
    if (whole && body.size() <= kKeptBody) {
      kept_ = body;
      replayed_ = body.size();
      lost_ = false;
    }
    co_return body;
  }

  bool Rewind() override {
    if (started_ || lost_) return false;
    replayed_ = 0;
    return true;
  }

  async::Task<Result<void>> Respond(ResponseHead head, std::string body) override {
    Begin(head);
    bool bodiless = head.status == 204 || head.status == 304;
    if (!bodiless) head.headers.Set("Content-Length", fmt::to_string(body.size()));
    finished_ = true;
    std::string text = Serialize(head);
    std::string_view sent = head_.method == "HEAD" || bodiless ? std::string_view() : body;
    Result<void> written = co_await connection_.stream_.Write2(text, sent);
    if (!written) keep_alive_ = false;
    co_return written;
  }

  async::Task<Result<void>> StartResponse(ResponseHead head) override {
    Result<void> written = co_await StartResponseWith(std::move(head), std::string_view());
    co_return written;
  }

  async::Task<Result<void>> StartResponseWith(ResponseHead head, std::string_view first) override {
    bool bodiless = head_.method == "HEAD" || head.status == 204 || head.status == 304;
    bool has_length = head.headers.Has("Content-Length");
    if (bodiless) {
      framing_ = Framing::kNone;
    } else if (has_length) {
      framing_ = Framing::kLength;
    } else if (head_.minor_version == 1) {
      framing_ = Framing::kChunked;
      head.headers.Set("Transfer-Encoding", "chunked");
    } else {
      framing_ = Framing::kUntilClose;
      keep_alive_ = false;
    }
    Begin(head);
    std::string text = Serialize(head);
    if (framing_ == Framing::kNone) first = {};
    if (framing_ == Framing::kChunked && !first.empty()) {
      fmt::format_to(std::back_inserter(text), "{:x}\r\n", first.size());
      text += first;
      text += "\r\n";
      first = {};
    }
    Result<void> written = co_await connection_.stream_.Write2(text, first);
    co_return written;
  }

  async::Task<Result<void>> Write(std::string_view data) override {
    if (data.empty() || framing_ == Framing::kNone) co_return Result<void>();
    if (framing_ != Framing::kChunked) {
      Result<void> written = co_await connection_.stream_.Write(data);
      co_return written;
    }
    chunk_.clear();
    fmt::format_to(std::back_inserter(chunk_), "{:x}\r\n", data.size());
    chunk_ += data;
    chunk_ += "\r\n";
    Result<void> written = co_await connection_.stream_.Write(chunk_);
    co_return written;
  }

  async::Task<Result<void>> Finish() override {
    finished_ = true;
    if (framing_ != Framing::kChunked) co_return Result<void>();
    Result<void> written = co_await connection_.stream_.Write("0\r\n\r\n");
    if (!written) keep_alive_ = false;
    co_return written;
  }

  bool response_started() const override { return started_; }
  int status() const override { return status_; }

  async::Task<Result<void>> Inform(ResponseHead head) override {
    // HTTP/1.0 has no informational responses (RFC 9110, 15.2).
    if (started_ || head_.minor_version == 0) co_return Result<void>();
    if (head.status == 100) continued_ = true;
    std::string text = Serialize(head);
    Result<void> written = co_await connection_.stream_.Write(text);
    co_return written;
  }

  async::Task<Result<async::Stream*>> Upgrade(ResponseHead head, std::string& early) override {
    Tell(head);
    started_ = true;
    status_ = head.status;
    finished_ = true;
    keep_alive_ = false;
    upgraded_ = true;
    std::string text = Serialize(head);
    CO_TRY(co_await connection_.stream_.Write(text));
    early = connection_.buffer_.Take();
    co_return &connection_.stream_;
  }

  bool draining() const override {
    return connection_.draining_ != nullptr && *connection_.draining_;
  }
  async::Task<> WaitForHangup() override { co_await connection_.stream_.WaitForHangup(); }
  void WatchHangup(std::function<void()> gone) override {
    connection_.WatchHangup(std::move(gone));
  }
  void Abort() override {
    keep_alive_ = false;
    aborted_ = true;
  }

  bool complete() const { return started_ && finished_ && !aborted_; }
  bool upgraded() const { return upgraded_; }
  bool keep_alive() const { return keep_alive_; }
  bool body_read() const { return body_.at_end(); }

 private:
  void Begin(ResponseHead& head) {
    started_ = true;
    status_ = head.status;
    if (connection_.draining_ != nullptr && *connection_.draining_) keep_alive_ = false;
    if (!body_.at_end()) keep_alive_ = false;
    head.headers.Remove("Connection");
    if (!keep_alive_) {
      head.headers.Add("Connection", "close");
    } else if (head_.minor_version == 0) {
      head.headers.Add("Connection", "keep-alive");
    }
    Tell(head);
  }
  // What every answer tells of how it came about.
  void Tell(ResponseHead& head) const {
    if (!request_id().empty()) head.headers.Set("X-Request-Id", request_id());
    for (const auto& [name, ms] : timings()) {
      head.headers.Add("Server-Timing", fmt::format("{};dur={:.1f}", name, ms));
    }
  }

  Connection& connection_;
  RequestHead head_;
  BodyReader body_;
  std::string kept_;     // the whole of it
  size_t replayed_ = 0;  // of that
  bool lost_ = false;    // some of it was read and is not kept
  Framing framing_ = Framing::kNone;
  std::string chunk_;
  bool keep_alive_;
  bool continued_ = false;
  bool started_ = false;
  int status_ = 0;
  bool finished_ = false;
  bool upgraded_ = false;
  bool aborted_ = false;
};

Connection::Connection(async::Stream stream, const Handler& handler, const ServerOptions& options,
                       const std::atomic<bool>* draining)
    : stream_(std::move(stream)),
      handler_(handler),
      options_(options),
      draining_(draining),
      alarm_(stream_.executor()) {
  WatchPeer(stream_.fd(), options_.write_timeout);
}

Connection::~Connection() = default;

void Connection::CloseIfIdle() {
  if (!idle_) return;
  // Whoever has just connected is about to ask, and what has arrived is a request: closing would be
  // an answer that no client expects.
  int waiting = 0;
  bool asks = ::ioctl(stream_.fd(), FIONREAD, &waiting) == 0 && waiting > 0;
  bool fresh = first_ && std::chrono::steady_clock::now() - born_ < kFresh;
  if (!asks && !fresh) stream_.Close();
}

async::Task<Result<size_t>> Connection::TimedRead(std::span<char> out) {
  SetDeadline(options_.idle_timeout);
  Result<size_t> result = co_await stream_.ReadSome(out);
  ClearDeadline();
  if (late_) co_return FailErrno(ETIMEDOUT, "read a request's body");
  co_return result;
}

// Reads until the buffer holds a whole head: true; false when the connection ended before that.
async::Task<Result<bool>> Connection::ReadHead() {
  bool begun = !buffer_.empty();
  SetDeadline(begun ? options_.head_timeout : options_.idle_timeout);
  std::optional<Scratch> piece;
  while (FindHeadEnd(buffer_.view()) == 0) {
    if (buffer_.view().size() > kMaxHeadBytes) break;  // ParseRequestHead refuses it
    if (!piece && !begun) {
      // Nothing is kept for a connection that waits.
      Result<void> readable = co_await stream_.WaitReadable();
      if (!readable) co_return false;
    }
    if (!piece) piece.emplace();
    Result<size_t> n = co_await stream_.ReadSome(piece->span());
    if (late_ && begun) {
      co_return Fail(Code::kTimeout, "the request's head did not arrive in time",
                     "REQUEST_TIMEOUT");
    }
    if (!n || *n == 0) co_return false;
    idle_ = false;
    // Empty lines before a request are to be ignored (RFC 9112, 2.2).
    std::string_view bytes(piece->span().data(), *n);
    while (buffer_.empty() && bytes.starts_with("\r\n")) bytes.remove_prefix(2);
    buffer_.Append(bytes);
    // From its first byte on, whole heads come at once as a rule.
    if (!begun && FindHeadEnd(buffer_.view()) == 0) SetDeadline(options_.head_timeout);
    begun = true;
  }
  co_return true;
}

async::Task<> Connection::Refuse(Error error) {
  metrics::CountError(ReasonOf(error));
  std::string body = ErrorBody(error);
  ResponseHead head = ErrorHead(error);
  head.headers.Set("Content-Length", fmt::to_string(body.size()));
  head.headers.Set("Connection", "close");
  head.headers.Set("X-Request-Id", ChooseRequestId(RequestHead()));
  std::string text = Serialize(head);
  (void)co_await stream_.Write2(text, body);
  co_await Linger();
}

// Lets the client read the answer although it has not finished sending: a close with unread bytes
// would reset the connection and with it the answer.
async::Task<> Connection::Linger() {
  stream_.ShutdownWrite();
  (void)co_await async::WithTimeout(kLingerTime, [](async::Stream& stream) -> async::Task<> {
    std::vector<char> piece(32UL * 1024);
    size_t total = 0;
    while (total < kLingerBytes) {
      Result<size_t> n = co_await stream.ReadSome(piece);
      if (!n || *n == 0) break;
      total += *n;
    }
  }(stream_));
}

async::Task<bool> Connection::ServeOne() {
  Result<bool> ready = co_await ReadHead();
  ClearDeadline();
  if (!ready) {
    co_await Refuse(std::move(ready).error());
    co_return false;
  }
  if (!*ready) co_return false;
  size_t end = FindHeadEnd(buffer_.view());
  Result<RequestHead> head =
      ParseRequestHead(buffer_.view().substr(0, end == 0 ? std::string_view::npos : end));
  if (!head) {
    co_await Refuse(std::move(head).error());
    co_return false;
  }
  buffer_.Consume(end);
  ExchangeImpl exchange(*this, std::move(*head));
  std::optional<Error> failure;
  try {
    co_await handler_(exchange);
  } catch (const boost::system::system_error& error) {
    throw;  // cancellation unwinds the connection
  } catch (const std::exception& error) {
    log::Error("{} {}: {}", exchange.request().method, exchange.request().target, error.what());
    failure = Error{.code = Code::kInternal, .message = "an unexpected failure; see the log"};
  }
  if (exchange.upgraded()) co_return false;
  if (!exchange.response_started()) {
    if (!failure) {
      failure = Error{.code = Code::kInternal, .message = "the request was not answered"};
    }
    co_await Refuse(std::move(*failure));
    co_return false;
  }
  if (!exchange.complete()) co_return false;
  if (!exchange.body_read()) co_await Linger();
  co_return exchange.keep_alive() && exchange.body_read();
}

async::Task<> Connection::Serve() {
  co_await async::Race(ServeAll(), WatchDeadline());
  stream_.Close();
}

async::Task<> Connection::ServeAll() {
  for (;; first_ = false) {
    idle_ = buffer_.empty();
    if (!first_ && draining_ != nullptr && *draining_) break;
    bool again = co_await ServeOne();
    if (!again) break;
  }
}

}  // namespace atl::http
