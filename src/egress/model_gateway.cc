// SPDX-License-Identifier: Apache-2.0
#include "egress/model_gateway.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/log.h"
#include "egress/model_url.h"
#include "egress/redactor.h"
#include "http/client.h"

namespace atl::egress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectTimeout{15'000};
constexpr std::chrono::milliseconds kIdle{10 * 60 * 1000};
constexpr std::chrono::milliseconds kIdleCheck{15'000};
constexpr size_t kPiece = 64UL * 1024;

// What is passed to the provider. Everything else a sandbox sends stays here, credentials first.
constexpr std::array<std::string_view, 9> kPassed = {
    "accept",       "accept-language", "content-type", "content-encoding", "user-agent",
    "x-request-id", "idempotency-key", "x-title",      "http-referer"};
constexpr std::array<std::string_view, 5> kPassedPrefixes = {
    "anthropic-", "openai-", "x-stainless-", "x-session-", "x-client-request-"};
// What is not passed back: it belongs to the connection, or to a browser.
constexpr std::array<std::string_view, 12> kHopByHop = {"connection",
                                                        "keep-alive",
                                                        "proxy-authenticate",
                                                        "proxy-authentication-info",
                                                        "proxy-connection",
                                                        "te",
                                                        "trailer",
                                                        "transfer-encoding",
                                                        "upgrade",
                                                        "content-length",
                                                        "set-cookie",
                                                        "alt-svc"};

bool StartsWithIgnoreCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         http::EqualsIgnoreCase(text.substr(0, prefix.size()), prefix);
}

bool IsPassed(std::string_view name) {
  auto same = [&](std::string_view passed) { return http::EqualsIgnoreCase(name, passed); };
  auto begins = [&](std::string_view prefix) { return StartsWithIgnoreCase(name, prefix); };
  return std::any_of(kPassed.begin(), kPassed.end(), same) ||
         std::any_of(kPassedPrefixes.begin(), kPassedPrefixes.end(), begins);
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < ' ') {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

// An error in the forms of this daemon, of Anthropic and of OpenAI at once, so that any client
// shows the sentence.
async::Task<> RespondModelError(http::Exchange& exchange, Error error) {
  http::ResponseHead head;
  head.status = HttpStatus(error.code);
  head.headers.Set("Content-Type", "application/json");
  // Asking again changes nothing; the providers' own clients honour this.
  if (error.code != Code::kBadGateway) head.headers.Set("x-should-retry", "false");
  std::string code = Quoted(ReasonOf(error));
  std::string message = Quoted(error.message);
  std::string body = fmt::format(
      R"({{"type":"error","code":{},"message":{},"error":{{"type":"api_error","code":{},"message":{}}}}})",
      code, message, code, message);
  (void)co_await exchange.Respond(std::move(head), std::move(body));
}

http::RequestHead UpstreamHead(const http::RequestHead& request, const ModelOptions& options,
                               const ModelUrl& url) {
  http::RequestHead head;
  head.method = request.method;
  head.target = JoinModelPath(options.protocol, url.path, request.path());
  if (!request.query().empty()) head.target += fmt::format("?{}", request.query());
  head.host = url.authority;
  head.framing = request.framing;
  head.content_length = request.content_length;
  head.headers.Set("Host", url.authority);
  std::string connection = request.headers.Joined("Connection");
  for (const http::Headers::Field& field : request.headers.fields()) {
    if (IsPassed(field.first) && !http::ListContains(connection, field.first)) {
      head.headers.Add(field.first, field.second);
    }
  }
  // Compressed, an answer could not be searched for the key.
  head.headers.Set("Accept-Encoding", "identity");
  head.headers.Set("Connection", "close");
  if (options.protocol == ModelOptions::Protocol::kAnthropic) {
    head.headers.Set("x-api-key", options.api_key);
  } else {
    head.headers.Set("Authorization", "Bearer " + options.api_key);
  }
  return head;
}

http::ResponseHead DownstreamHead(http::ResponseHead upstream, const std::string& key) {
  http::ResponseHead head;
  head.status = upstream.status;
  std::string connection = upstream.headers.Joined("Connection");
  for (http::Headers::Field& field : upstream.headers.fields()) {
    auto same = [&](std::string_view name) { return http::EqualsIgnoreCase(field.first, name); };
    if (std::any_of(kHopByHop.begin(), kHopByHop.end(), same)) continue;
    if (http::ListContains(connection, field.first)) continue;
    head.headers.Add(field.first, Redact(key, field.second));
  }
  if (upstream.framing == http::Framing::kLength) {
    head.headers.Set("Content-Length", fmt::to_string(upstream.content_length));
  }
  return head;
}

// One request on its way: two directions that go on at the same time.
struct Transfer {
  http::Exchange& exchange;
  http::ClientRequest& upstream;
  const std::string& key;
  Clock::time_point moved = Clock::now();
  std::optional<Error> failure;  // before an answer began
  bool answered = false;
};

// Ends when the client is gone: what it has asked for is then of no use.
async::Task<> Upload(Transfer& transfer) {
  std::vector<char> buffer(kPiece);
  while (true) {
    Result<size_t> n = co_await transfer.exchange.ReadSome(buffer);
    if (!n) co_return;
    transfer.moved = Clock::now();
    // A provider that takes no more has answered already, or will fail the download.
    Result<void> sent;
    if (*n == 0) {
      sent = co_await transfer.upstream.SendEnd();
    } else {
      sent = co_await transfer.upstream.SendBody(std::string_view(buffer.data(), *n));
    }
    if (*n == 0 || !sent) break;
  }
  co_await transfer.exchange.WaitForHangup();
}

async::Task<> CopyBody(Transfer& transfer) {
  std::vector<char> buffer(kPiece);
  Redactor redactor(transfer.key);
  while (true) {
    Result<size_t> n = co_await transfer.upstream.ReadSome(buffer);
    if (!n) {
      transfer.exchange.Abort();
      co_return;
    }
    transfer.moved = Clock::now();
    bool last = *n == 0;
    std::string piece =
        last ? redactor.Finish() : redactor.Feed(std::string_view(buffer.data(), *n));
    Result<void> written;
    if (!piece.empty()) written = co_await transfer.exchange.Write(piece);
    if (!written) co_return;
    if (last) break;
  }
  (void)co_await transfer.exchange.Finish();
}

async::Task<> Download(Transfer& transfer) {
  http::ResponseHead head;
  do {
    Result<http::ResponseHead> next = co_await transfer.upstream.ReadHead();
    if (!next) {
      transfer.failure = std::move(next).error();
      co_return;
    }
    transfer.moved = Clock::now();
    head = *std::move(next);
  } while (head.status < 200);
  if (head.status >= 300 && head.status < 400) {
    transfer.failure = Error{.code = Code::kBadGateway,
                             .message =
                                 "The model provider redirects this request. Set the base "
                                 "URL in [model] to where it leads.",
                             .reason = "MODEL_REDIRECTS"};
    co_return;
  }
  std::string encoding = head.headers.Joined("Content-Encoding");
  if (!encoding.empty() && !http::EqualsIgnoreCase(encoding, "identity")) {
    transfer.failure = Error{.code = Code::kBadGateway,
                             .message =
                                 "The model provider compresses its answers although it was asked "
                                 "not to; they cannot be searched for the key.",
                             .reason = "MODEL_ANSWER_ENCODED"};
    co_return;
  }
  transfer.answered = true;
  http::ResponseHead down = DownstreamHead(std::move(head), transfer.key);
  Result<void> started = co_await transfer.exchange.StartResponse(std::move(down));
  if (!started) co_return;
  co_await CopyBody(transfer);
}

async::Task<> WatchIdle(Transfer& transfer) {
  while (Clock::now() - transfer.moved < kIdle) co_await async::Sleep(kIdleCheck);
  if (transfer.answered) {
    transfer.exchange.Abort();
  } else {
    transfer.failure = Error{.code = Code::kBadGateway,
                             .message = "The model provider has been silent for ten minutes.",
                             .reason = "MODEL_TIMEOUT"};
  }
}

async::Task<> UploadWatched(Transfer& transfer) {
  co_await async::Race(Upload(transfer), WatchIdle(transfer));
}

std::string_view Missing(const ModelOptions& options) {
  if (options.protocol == ModelOptions::Protocol::kNone) {
    return "No model provider is configured. Set ANTHROPIC_API_KEY, or base_url and api_key in "
           "[model] of atoll.toml, and start Atoll again.";
  }
  if (options.api_key.empty()) {
    return "The model provider has no key. Set ANTHROPIC_API_KEY, or api_key in [model] of "
           "atoll.toml (any word for a provider that needs none), and start Atoll again.";
  }
  bool odd = std::any_of(options.api_key.begin(), options.api_key.end(),
                         [](char c) { return c <= ' ' || c >= 0x7f; });
  if (odd) {
    return "The model provider's key has characters that no key has. Correct it in [model] of "
           "atoll.toml or in ANTHROPIC_API_KEY, and start Atoll again.";
  }
  return {};
}

}  // namespace

ModelGateway::ModelGateway(ModelOptions options) : options_(std::move(options)) {}

async::Task<> ModelGateway::Handle(std::string iid, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  if (!IsModelRequest(request.method, request.path())) {
    co_await RespondModelError(
        exchange, Error(Code::kNotFound,
                        "gateway.atoll serves POST /v1/messages, /v1/chat/completions and "
                        "/v1/responses, and GET /v1/models"));
    co_return;
  }
  std::string_view missing = Missing(options_);
  if (!missing.empty()) {
    co_await RespondModelError(
        // Not a 503: OpenCode would try that again and again instead of showing it.
        exchange, Error(Code::kPermissionDenied, std::string(missing), "MODEL_NOT_CONFIGURED"));
    co_return;
  }
  Result<ModelUrl> url = ParseModelUrl(options_.base_url);
  if (!url) {
    co_await RespondModelError(
        exchange, Error(Code::kPermissionDenied, url.error().message, "MODEL_NOT_CONFIGURED"));
    co_return;
  }
  auto transport = co_await http::ConnectUrlHost(url->host, url->port, url->tls, kConnectTimeout);
  if (!transport) {
    log::Warning("sandbox {}: the model provider: {}", iid, transport.error().message);
    co_await RespondModelError(
        exchange,
        Error(Code::kBadGateway,
              fmt::format("The model provider cannot be reached: {}", transport.error().message),
              "MODEL_UNREACHABLE"));
    co_return;
  }
  http::ClientRequest upstream(**transport);
  http::RequestHead head = UpstreamHead(request, options_, *url);
  Transfer transfer{.exchange = exchange, .upstream = upstream, .key = options_.api_key};
  Result<void> sent = co_await upstream.SendHead(std::move(head));
  if (!sent) {
    transfer.failure = std::move(sent).error();
  } else {
    co_await async::Race(Download(transfer), UploadWatched(transfer));
  }
  if (transfer.answered || exchange.response_started()) co_return;
  if (!transfer.failure) {
    // The client has gone away.
    exchange.Abort();
    co_return;
  }
  transfer.failure->code = Code::kBadGateway;
  transfer.failure->message = Redact(options_.api_key, transfer.failure->message);
  co_await RespondModelError(exchange, std::move(*transfer.failure));
}

}  // namespace atl::egress
