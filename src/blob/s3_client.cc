// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <ctime>
#include <random>

#include "blob/s3_exchange.h"
#include "crypto/sha256.h"

namespace atl::blob {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstDelay(100);
constexpr milliseconds kMaxDelay(10'000);
constexpr int64_t kMaxRetryAfter = 3600;  // seconds
constexpr std::string_view kAmazon = ".amazonaws.com";

// Twice as long each time, and at random between half of that and all of it: clients that failed
// together come back apart.
milliseconds DelayAfter(int attempt) {
  thread_local std::minstd_rand random{std::random_device{}()};
  milliseconds most = std::min(kMaxDelay, kFirstDelay * (1 << std::min(attempt - 1, 10)));
  std::uniform_int_distribution<int64_t> between(most.count() / 2, most.count());
  return milliseconds(between(random));
}

bool SleepUnlessStopped(milliseconds duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

milliseconds RetryAfter(const http::Headers& headers) {
  std::string_view text = headers.Get("Retry-After").value_or("");
  int64_t seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, kMaxRetryAfter));
}

struct Endpoint {
  bool tls = true;
  std::string host;  // with brackets where it has some
  uint16_t port = 0;
  bool default_port = true;
};

Result<Endpoint> ParseEndpoint(std::string_view text) {
  auto bad = [&] {
    return Fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is no endpoint of S3: expected https://host[:port]", text));
  };
  Endpoint endpoint;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    endpoint.tls = false;
  } else {
    return bad();
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  endpoint.port = endpoint.tls ? 443 : 80;
  size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos) {
    std::string_view port = rest.substr(colon + 1);
    uint16_t number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0) return bad();
    endpoint.default_port = number == endpoint.port;
    endpoint.port = number;
    rest = rest.substr(0, colon);
  }
  bool good = !rest.empty() && rest.size() <= 253 && std::ranges::all_of(rest, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
  });
  if (!good) return bad();
  endpoint.host = rest;
  return endpoint;
}

bool IsBucket(std::string_view name) {
  auto alphanumeric = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return name.size() >= 3 && name.size() <= 255 && alphanumeric(name.front()) &&
         std::ranges::all_of(
             name, [&](char c) { return alphanumeric(c) || c == '.' || c == '-' || c == '_'; });
}

// Any text that is a path: no part of it is empty or goes up, and no control characters.
bool IsPrefix(std::string_view prefix) {
  if (prefix.empty()) return true;
  if (prefix.size() > 200) return false;
  std::string_view rest = prefix;
  while (true) {
    size_t slash = rest.find('/');
    std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  return std::ranges::none_of(
      prefix, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Result<void> CheckOptions(const S3Options& options) {
  auto bad = [](std::string message) { return Fail(Code::kInvalidArgument, std::move(message)); };
  if (!IsBucket(options.bucket)) return bad(fmt::format("\"{}\" is no bucket", options.bucket));
  if (!IsPrefix(options.prefix)) return bad("the prefix in the bucket is not a relative path");
  if (options.access_key.empty() || options.secret_key.empty()) {
    return Fail(Code::kPermissionDenied, "there are no credentials for the store",
                "STORE_ACCESS_DENIED");
  }
  // They become header fields.
  for (const auto* text : {&options.access_key, &options.session_token, &options.region}) {
    if (std::ranges::any_of(*text, [](char c) { return c <= 0x20 || c == 0x7f; })) {
      return bad("the credentials or the region of the store have white space");
    }
  }
  if (options.region.empty()) return bad("the store's region is empty");
  if (options.connections < 1 || options.attempts < 1 || options.part_bytes == 0 ||
      options.idle_limit.count() <= 0 || options.total_limit.count() <= 0) {
    return bad("a limit of the store is not positive");
  }
  return {};
}

std::string PayloadHash(std::span<const std::string_view> body) {
  crypto::Sha256 hash;
  for (std::string_view piece : body) hash.Update(piece);
  return hash.FinishHex();
}

bool Contains(std::string_view text, std::string_view secret) {
  return !secret.empty() && text.find(secret) != std::string_view::npos;
}

}  // namespace

S3Client::S3Client(async::Runtime& runtime, S3Options options, std::atomic<uint64_t>& requests)
    : options_(std::move(options)),
      credentials_{.access_key = options_.access_key,
                   .secret_key = options_.secret_key,
                   .session_token = options_.session_token},
      requests_(requests),
      pool_(runtime, options_.connections) {
  name_ = fmt::format("s3://{}{}{}", options_.bucket, options_.prefix.empty() ? "" : "/",
                      options_.prefix);
  fixed_region_ = options_.region != "auto";
  region_ = options_.region;
  if (!fixed_region_ && options_.endpoint.empty()) region_ = "us-east-1";
}

Result<std::unique_ptr<S3Client>> S3Client::Make(async::Runtime& runtime, S3Options options,
                                                 std::atomic<uint64_t>& requests) {
  TRY(CheckOptions(options));
  std::unique_ptr<S3Client> client(new S3Client(runtime, std::move(options), requests));
  TRY(client->AddressOf(client->region_));
  return client;
}

Result<S3Address> S3Client::AddressOf(const std::string& region) const {
  std::string text = options_.endpoint;
  if (text.empty()) text = fmt::format("https://s3.{}{}", region, kAmazon);
  ASSIGN(Endpoint endpoint, ParseEndpoint(text));
  bool in_host = options_.style == S3Options::Style::kVirtualHost;
  if (options_.style == S3Options::Style::kAuto) {
    // Amazon's certificate covers one label in front of its own names.
    in_host = endpoint.host.ends_with(kAmazon) && !options_.bucket.contains('.');
  }
  S3Address address{.tls = endpoint.tls, .host = endpoint.host, .port = endpoint.port};
  if (in_host) address.host = fmt::format("{}.{}", options_.bucket, endpoint.host);
  address.path = in_host ? "/" : fmt::format("/{}/", options_.bucket);
  address.authority = address.host;
  if (!endpoint.default_port) address.authority += fmt::format(":{}", endpoint.port);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  return address;
}

std::string S3Client::CurrentRegion() const {
  std::scoped_lock lock(mutex_);
  return region_;
}

bool S3Client::LearnRegion(const std::string& region) {
  std::scoped_lock lock(mutex_);
  if (fixed_region_ || region.empty() || region == region_) return false;
  region_ = region;
  return true;
}

http::RequestHead S3Client::SignedHead(const S3Request& request, const std::string& payload_hash,
                                       const S3Address& address, const std::string& region) const {
  sigv4::Scope scope{.time = sigv4::FormatTime(::time(nullptr)), .region = region};
  sigv4::Request signing{.method = request.method,
                         .path = address.path + request.key,
                         .query = request.query,
                         .headers = request.headers,
                         .payload_hash = payload_hash};
  signing.headers.emplace_back("Host", address.authority);
  signing.headers.emplace_back("x-amz-content-sha256", payload_hash);
  signing.headers.emplace_back("x-amz-date", scope.time);
  if (!credentials_.session_token.empty()) {
    signing.headers.emplace_back("x-amz-security-token", credentials_.session_token);
  }
  http::RequestHead head;
  head.method = request.method;
  head.target = sigv4::UriEncode(signing.path, true);
  if (!request.query.empty()) head.target += "?" + sigv4::CanonicalQuery(request.query);
  head.host = address.authority;
  for (const auto& [name, value] : signing.headers) head.headers.Add(name, value);
  head.headers.Add("Authorization", sigv4::Authorization(credentials_, scope, signing));
  head.headers.Add("User-Agent", "atoll");
  for (std::string_view piece : request.body) head.content_length += piece.size();
  if (request.method == "PUT" || request.method == "POST") head.framing = http::Framing::kLength;
  return head;
}

S3Client::Outcome S3Client::Judge(const S3Request& request, S3Response response) const {
  if (response.status >= 200 && response.status < 300) {
    Result<void> good = request.check ? request.check(response) : Result<void>();
    if (good) return {.response = std::move(response)};
    bool again = good.error().reason != "BLOB_TRUNCATED";
    return {.response = Unexpected(std::move(good).error()), .retry = again};
  }
  S3Failure failure = FailureOf(response);
  return {.response = Unexpected(std::move(failure.error)),
          .retry = failure.retry,
          .region = std::move(failure.region),
          .retry_after = RetryAfter(response.headers)};
}

S3Client::Outcome S3Client::Attempt(const S3Request& request, const std::string& payload_hash,
                                    bool fresh, milliseconds left, const std::stop_token& stop) {
  std::string region = CurrentRegion();
  Result<S3Address> address = AddressOf(region);
  if (!address) return {.response = Unexpected(std::move(address).error())};
  S3Exchange exchange{.connection = pool_.Take(fresh),
                      .host = address->host,
                      .port = address->port,
                      .tls = address->tls,
                      .ca_file = options_.ca_file,
                      .head = SignedHead(request, payload_hash, *address, region),
                      .body = request.body,
                      .limit = request.limit,
                      .idle_limit = options_.idle_limit,
                      .total_limit = left};
  requests_.fetch_add(1, std::memory_order_relaxed);
  RunExchange(exchange, stop);
  if (exchange.keep) pool_.Give(std::move(exchange.connection));
  if (exchange.response) return Judge(request, *std::move(exchange.response));

  Error error = std::move(exchange.response).error();
  if (error.code == Code::kCancelled || error.code == Code::kTooLarge ||
      error.code == Code::kInvalidArgument) {
    return {.response = Unexpected(std::move(error))};
  }
  bool untrusted = error.reason == "TLS_UNTRUSTED";
  error.code = Code::kUnavailable;
  error.reason = untrusted ? "STORE_TLS_UNTRUSTED" : "STORE_UNAVAILABLE";
  return {.response = Unexpected(std::move(error)),
          .retry = !untrusted,
          .stale = exchange.reused && !exchange.heard && !exchange.timed_out};
}

Error S3Client::Clean(Error error, std::string_view what) const {
  if (Contains(error.message, credentials_.secret_key) ||
      Contains(error.message, credentials_.session_token)) {
    error.message = "the store's answer is not shown: it quotes a secret";
  }
  return std::move(error).Wrap(fmt::format("{} in {}", what, name_));
}

Result<S3Response> S3Client::Send(const S3Request& request, std::stop_token stop) {
  std::string payload_hash = PayloadHash(request.body);
  ASSIGN(S3Pool::Slot slot, pool_.Acquire(stop));
  auto deadline = Clock::now() + options_.total_limit;
  bool fresh = false;
  int moves = 0;  // to other regions
  for (int attempt = 1;;) {
    auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    left = std::max(left, milliseconds(1));
    Outcome outcome = Attempt(request, payload_hash, fresh, left, stop);
    if (outcome.response) return std::move(*outcome.response);
    if (outcome.stale) {
      fresh = true;
      continue;
    }
    if (moves < 2 && LearnRegion(outcome.region)) {
      ++moves;
      fresh = true;
      continue;
    }
    Error error = std::move(outcome.response).error();
    milliseconds delay = std::max(DelayAfter(attempt), outcome.retry_after);
    bool in_time = Clock::now() + delay < deadline;
    if (!outcome.retry || attempt >= options_.attempts || !in_time) {
      if (outcome.retry) error.message += fmt::format(" (attempt {})", attempt);
      return Unexpected(Clean(std::move(error), request.what));
    }
    if (!SleepUnlessStopped(delay, stop)) {
      return Fail(Code::kCancelled, fmt::format("{}: cancelled", request.what));
    }
    ++attempt;
  }
}

Result<std::string> S3Client::Presign(const std::string& key, std::chrono::seconds valid) {
  std::string region = CurrentRegion();
  ASSIGN(S3Address address, AddressOf(region));
  sigv4::Scope scope{.time = sigv4::FormatTime(::time(nullptr)), .region = region};
  sigv4::Request request{.method = "GET",
                         .path = address.path + key,
                         .query = {},
                         .headers = {{"Host", address.authority}},
                         .payload_hash = {}};
  std::string query = sigv4::PresignedQuery(credentials_, scope, request, valid);
  return fmt::format("{}://{}{}?{}", address.tls ? "https" : "http", address.authority,
                     sigv4::UriEncode(request.path, true), query);
}

}  // namespace atl::blob
