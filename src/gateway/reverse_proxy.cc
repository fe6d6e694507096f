// SPDX-License-Identifier: Apache-2.0
#include "gateway/reverse_proxy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "gateway/header_policy.h"
#include "gateway/preview_access.h"
#include "http/client.h"
#include "http/scratch.h"
#include "metrics/atoll.h"

namespace atl::gateway {
namespace {

constexpr size_t kPieceBytes = 64UL * 1024;
// WebSockets without traffic are cut by nobody but their ends; this only frees what both forgot.
constexpr std::chrono::milliseconds kTunnelIdle{24L * 60 * 60 * 1000};

// The state of one exchange, shared by its two directions.
struct Passing {
  http::Exchange& exchange;
  http::ClientRequest& upstream;
  const ProxyPolicy& policy;
  std::optional<Error> failure = std::nullopt;
  bool body_sent = false;
  bool complete = false;  // the response has gone out whole

  // The first failure is the cause; what fails behind it was cancelled because of it.
  void NoteFailure(Error error) {
    if (!failure) failure = std::move(error);
  }
};

// Watches for the client's leaving as long as it lives.
class Watch {
 public:
  Watch(http::Exchange& exchange, std::function<void()> gone) : exchange_(exchange) {
    exchange_.WatchHangup(std::move(gone));
  }
  ~Watch() { exchange_.WatchHangup({}); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  http::Exchange& exchange_;
};

Error ClientGone() { return {.code = Code::kCancelled, .message = "the client has gone away"}; }

Error TooLarge(uint64_t limit) {
  return {.code = Code::kTooLarge,
          .message = fmt::format("the request's body is above {} bytes", limit)};
}

// Copies the request's body. True to go on with waiting for the response.
async::Task<bool> PassBody(Passing& passing) {
  std::vector<char> piece(kPieceBytes);
  uint64_t total = 0;
  for (;;) {
    Result<size_t> n = co_await passing.exchange.ReadSome(piece);
    if (!n) {
      passing.NoteFailure(std::move(n).error());
      co_return false;
    }
    if (*n == 0) break;
    total += *n;
    if (total > passing.policy.body_limit) {
      passing.NoteFailure(TooLarge(passing.policy.body_limit));
      co_return false;
    }
    metrics::Get().proxy_received_bytes.Add(*n);
    std::string_view data(piece.data(), *n);
    Result<void> sent = co_await passing.upstream.SendBody(data);
    // A server may answer before it has read everything; that answer counts.
    if (!sent) co_return true;
  }
  Result<void> ended = co_await passing.upstream.SendEnd();
  (void)ended;  // the response tells
  co_return true;
}

// Ends when there is no use in waiting for the response.
async::Task<> PassRequest(Passing& passing) {
  if (passing.exchange.request().framing != http::Framing::kNone) {
    bool go_on = co_await PassBody(passing);
    if (!go_on) co_return;
  }
  passing.body_sent = true;
  co_await passing.exchange.WaitForHangup();
  passing.NoteFailure(ClientGone());
}

http::ResponseHead HeadForClient(const Passing& passing, http::ResponseHead head,
                                 std::string_view method) {
  if (passing.policy.is_preview) RemoveSignatureCookies(head.headers);
  return DownstreamHead(std::move(head), method, passing.policy.strip_cors);
}

// The final head; informational ones go out on the way.
async::Task<Result<http::ResponseHead>> ReadFinalHead(Passing& passing, bool upgrade) {
  for (;;) {
    CO_ASSIGN(http::ResponseHead head, co_await passing.upstream.ReadHead());
    if (head.status == 101 && !upgrade) {
      co_return Fail(Code::kBadGateway, "the program inside switched protocols unasked");
    }
    if (head.status >= 200 || head.status == 101) co_return head;
    // 100 is between neighbours; the server sends its own when the body is read.
    if (head.status == 100) continue;
    http::ResponseHead info = HeadForClient(passing, std::move(head), "GET");
    info.headers.Remove("Content-Length");
    CO_TRY(co_await passing.exchange.Inform(std::move(info)));
  }
}

async::Task<Result<void>> PassEventStream(Passing& passing, http::ResponseHead head) {
  const http::RequestHead& request = passing.exchange.request();
  http::ResponseHead out = DownstreamHead(std::move(head), "GET", passing.policy.strip_cors);
  CO_TRY(co_await passing.exchange.StartResponse(std::move(out)));
  passing.policy.events->begun();
  http::RequestHead again = UpstreamHead(request, passing.exchange.peer(), false);
  Error end = co_await PassEvents(passing.exchange, &passing.upstream, std::move(again),
                                  *passing.policy.events);
  co_return Unexpected(std::move(end));
}

async::Task<Result<void>> PassResponse(Passing& passing, http::ResponseHead head) {
  const std::string& method = passing.exchange.request().method;
  if (passing.policy.events != nullptr && method == "GET" && IsEventStream(head)) {
    Result<void> passed = co_await PassEventStream(passing, std::move(head));
    co_return passed;
  }
  // What is small comes with the head.
  bool small =
      head.framing == http::Framing::kNone ||
      (head.framing == http::Framing::kLength && head.content_length <= http::Scratch::kBytes);
  http::ResponseHead out = HeadForClient(passing, std::move(head), method);
  http::Scratch scratch;
  std::unique_ptr<char[]> large;
  std::span<char> piece = scratch.span();
  if (!small) {
    large = std::make_unique_for_overwrite<char[]>(kPieceBytes);
    piece = {large.get(), kPieceBytes};
  }
  size_t n = passing.upstream.TakeBuffered(piece);
  if (n == 0 && !passing.upstream.at_end() && passing.upstream.HasBuffered()) {
    CO_ASSIGN(n, co_await passing.upstream.ReadSome(piece));
  }
  std::string_view first(piece.data(), n);
  CO_TRY(co_await passing.exchange.StartResponseWith(std::move(out), first));
  metrics::Get().proxy_sent_bytes.Add(n);
  while (!passing.upstream.at_end()) {
    CO_ASSIGN(n, co_await passing.upstream.ReadSome(piece));
    if (n == 0) break;
    metrics::Get().proxy_sent_bytes.Add(n);
    std::string_view data(piece.data(), n);
    CO_TRY(co_await passing.exchange.Write(data));
  }
  CO_TRY(co_await passing.exchange.Finish());
  co_return Result<void>();
}

async::Task<> ReadAndPassResponse(Passing& passing) {
  Result<http::ResponseHead> head = co_await ReadFinalHead(passing, false);
  if (!head) {
    passing.NoteFailure(std::move(head).error());
    co_return;
  }
  Result<void> passed = co_await PassResponse(passing, std::move(*head));
  if (!passed) {
    passing.NoteFailure(std::move(passed).error());
    co_return;
  }
  passing.complete = true;
}

async::Task<> ReadHeadInto(Passing& passing, std::optional<http::ResponseHead>& head) {
  Result<http::ResponseHead> read = co_await ReadFinalHead(passing, true);
  if (!read) {
    passing.NoteFailure(std::move(read).error());
    co_return;
  }
  head = std::move(*read);
}

async::Task<> WaitForHangup(Passing& passing) { co_await passing.exchange.WaitForHangup(); }

async::Task<Result<void>> Tunnel(Passing& passing, http::Transport& transport,
                                 http::ResponseHead head) {
  std::string early;
  http::ResponseHead out = UpgradeHead(std::move(head));
  if (passing.policy.is_preview) RemoveSignatureCookies(out.headers);
  CO_ASSIGN(async::Stream * client, co_await passing.exchange.Upgrade(std::move(out), early));
  passing.complete = true;
  CO_TRY(co_await transport.Write(early));
  std::string from_upstream = passing.upstream.TakeEarly();
  CO_TRY(co_await client->Write(from_upstream));
  async::Relayed relayed = co_await async::Relay(*client, *transport.stream(), kTunnelIdle);
  metrics::Get().proxy_received_bytes.Add(relayed.a_to_b);
  metrics::Get().proxy_sent_bytes.Add(relayed.b_to_a);
  co_return Result<void>();
}

// An Upgrade: nothing is read from the client until the upstream has agreed or not.
async::Task<> PassUpgrade(Passing& passing, http::Transport& transport) {
  std::optional<http::ResponseHead> head;
  co_await async::Race(ReadHeadInto(passing, head), WaitForHangup(passing));
  if (!head) {
    passing.NoteFailure(ClientGone());
    co_return;
  }
  Result<void> passed;
  if (head->status == 101) {
    passed = co_await Tunnel(passing, transport, std::move(*head));
  } else {
    passed = co_await PassResponse(passing, std::move(*head));
    passing.complete = passed.has_value();
  }
  if (!passed) passing.NoteFailure(std::move(passed).error());
}

}  // namespace

// The methods that are idempotent (RFC 9110, 9.2.2), without a body that would have to be kept.
bool MayBeRepeated(const http::RequestHead& request) {
  constexpr std::array<std::string_view, 5> kMethods = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
  return request.framing == http::Framing::kNone && !IsUpgrade(request) &&
         std::ranges::find(kMethods, request.method) != kMethods.end();
}

async::Task<> ProxyTo(http::Exchange& exchange, async::Stream upstream, ProxyPolicy policy) {
  const http::RequestHead& request = exchange.request();
  if (request.framing == http::Framing::kLength && request.content_length > policy.body_limit) {
    co_await http::RespondError(exchange, TooLarge(policy.body_limit));
    co_return;
  }
  std::unique_ptr<http::Transport> transport = http::PlainTransport(std::move(upstream));
  http::ClientRequest client(*transport);
  Passing passing{.exchange = exchange, .upstream = client, .policy = policy};
  bool upgrade = IsUpgrade(request);
  const http::RequestHead& passed_on = policy.request != nullptr ? *policy.request : request;
  http::RequestHead head = UpstreamHead(passed_on, exchange.peer(), upgrade);
  if (policy.keep && !upgrade) head.headers.Remove("Connection");
  Result<void> sent = co_await client.SendHead(std::move(head));
  if (!sent) {
    Error error = std::move(sent).error();
    error.code = Code::kBadGateway;
    passing.NoteFailure(std::move(error));
  } else if (upgrade) {
    co_await PassUpgrade(passing, *transport);
  } else if (request.framing == http::Framing::kNone && policy.events == nullptr) {
    // There is but one direction, and one connection to close when the client leaves.
    passing.body_sent = true;
    auto gone = [&passing, &transport] {
      passing.NoteFailure(ClientGone());
      transport->Close();
    };
    Watch watch(exchange, gone);
    co_await ReadAndPassResponse(passing);
  } else {
    co_await async::Race(ReadAndPassResponse(passing), PassRequest(passing));
  }
  if (passing.complete && passing.body_sent && policy.keep && client.CanBeReused()) {
    policy.keep(std::move(*transport->stream()));
    co_return;
  }
  bool by_upstream = transport->stream()->is_open();
  transport->Close();
  if (passing.complete) co_return;
  if (policy.stale != nullptr && by_upstream && !client.heard() && !exchange.response_started()) {
    *policy.stale = true;
    co_return;
  }
  if (exchange.response_started()) {
    exchange.Abort();
    co_return;
  }
  Error error = passing.failure.value_or(
      Error{.code = Code::kBadGateway, .message = "the program inside gave no answer"});
  co_await http::RespondError(exchange, std::move(error));
}

}  // namespace atl::gateway
