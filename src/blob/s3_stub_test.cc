// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_stub.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <ctime>

#include "crypto/sha256.h"

namespace atl::blob {
namespace {

constexpr std::string_view kAccessKey = "AKIDSTUB";
constexpr std::string_view kSecretKey = "stub/secret+key";
constexpr std::string_view kBucket = "/bucket/";

sigv4::Pairs ParseQuery(std::string_view text) {
  sigv4::Pairs pairs;
  while (!text.empty()) {
    std::string_view one = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    size_t equals = one.find('=');
    std::string_view value = equals == std::string_view::npos ? "" : one.substr(equals + 1);
    pairs.emplace_back(http::PercentDecode(one.substr(0, equals)).value_or("?"),
                       http::PercentDecode(value).value_or("?"));
  }
  return pairs;
}

// "…name=value,…"
std::string Part(std::string_view field, std::string_view name) {
  size_t begin = field.find(fmt::format("{}=", name));
  if (begin == std::string_view::npos) return {};
  field = field.substr(begin + name.size() + 1);
  return std::string(field.substr(0, field.find(',')));
}

}  // namespace

S3Stub::S3Stub() {
  shard_ = std::jthread([this] { runtime_.Run(); });
  auto handler = [this](http::Exchange& exchange) { return Serve(exchange); };
  http::ServerOptions options;
  options.idle_timeout = std::chrono::milliseconds(400);
  server_ = std::make_unique<http::Server>(handler, options);
  sys::Fd listener = async::Listener::BindTcp({.address = "127.0.0.1", .port = 0}).value();
  async::Listener probe(runtime_.shard(0), listener.Duplicate().value());
  port_ = probe.port();
  server_->Listen(std::move(listener), runtime_.shard(0), [this] { return runtime_.NextShard(); });
}

S3Stub::~S3Stub() {
  std::mutex mutex;
  std::condition_variable changed;
  bool drained = false;
  auto drain = [&]() -> async::Task<> {
    co_await server_->Drain(std::chrono::seconds(10));
    std::scoped_lock lock(mutex);
    drained = true;
    changed.notify_all();
  };
  async::Spawn(runtime_.shard(0), drain(), "drain the stub");
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return drained; });
  }
  runtime_.Stop();
  shard_.join();
}

S3Options S3Stub::options() const {
  S3Options options;
  options.bucket = "bucket";
  options.endpoint = fmt::format("http://127.0.0.1:{}", port_);
  options.region = region;
  options.access_key = kAccessKey;
  options.secret_key = kSecretKey;
  options.attempts = 3;
  options.idle_limit = std::chrono::milliseconds(300);
  options.total_limit = std::chrono::milliseconds(5000);
  return options;
}

void S3Stub::Next(std::vector<Fault> faults) {
  std::scoped_lock lock(mutex_);
  faults_.assign(faults.begin(), faults.end());
}

void S3Stub::Always(Fault fault) {
  std::scoped_lock lock(mutex_);
  always_ = fault;
}

std::vector<S3Stub::Seen> S3Stub::TakeSeen() {
  std::scoped_lock lock(mutex_);
  return std::exchange(seen_, {});
}

std::map<std::string, std::string> S3Stub::objects() const {
  std::scoped_lock lock(mutex_);
  return objects_;
}

void S3Stub::SetObject(const std::string& key, std::string data) {
  std::scoped_lock lock(mutex_);
  objects_[key] = std::move(data);
}

size_t S3Stub::open_uploads() const {
  std::scoped_lock lock(mutex_);
  return uploads_.size();
}

size_t S3Stub::connections() const {
  std::scoped_lock lock(mutex_);
  return peers_.size();
}

async::Task<> S3Stub::Serve(http::Exchange& exchange) {
  Request request{.head = exchange.request()};
  request.path = http::PercentDecode(request.head.path()).value_or("?");
  request.query = ParseQuery(request.head.query());
  Fault fault = Fault::kNone;
  {
    std::scoped_lock lock(mutex_);
    fault = always_;
    if (!faults_.empty()) {
      fault = faults_.front();
      faults_.pop_front();
    }
    seen_.push_back(
        {.method = request.head.method,
         .path = request.path,
         .query = request.query,
         .host = request.head.host,
         .content_type = std::string(request.head.headers.Get("Content-Type").value_or(""))});
    peers_.insert(exchange.peer());
  }
  if (fault == Fault::kStallUpload) {
    // The end of a connection is not seen behind a body that nobody reads.
    auto hangup = exchange.WaitForHangup();
    (void)co_await async::WithTimeout(std::chrono::seconds(2), std::move(hangup));
    exchange.Abort();
    co_return;
  }
  if (fault != Fault::kRefuseEarly) {
    Result<std::string> body = co_await exchange.ReadBody(64UL << 20U);
    if (!body) co_return;
    request.body = *std::move(body);
  }
  Answer answer = Do(request, fault);
  co_await Send(exchange, std::move(answer), fault);
}

async::Task<> S3Stub::Send(http::Exchange& exchange, Answer answer, Fault fault) {
  http::ResponseHead head;
  head.status = answer.status;
  head.headers = std::move(answer.headers);
  if (fault == Fault::kTruncated) answer.body.resize(answer.body.size() * 2 / 3);
  if (fault == Fault::kRefuseEarly) head.headers.Set("Connection", "close");
  if (fault == Fault::kLoseAnswer) {
    exchange.Abort();
    co_return;
  }
  bool partial = fault == Fault::kStall || fault == Fault::kReset || fault == Fault::kTrickle;
  if (!partial) {
    (void)co_await exchange.Respond(std::move(head), std::move(answer.body));
    co_return;
  }
  head.headers.Set("Content-Length", fmt::to_string(answer.body.size()));
  (void)co_await exchange.StartResponse(std::move(head));
  if (fault == Fault::kTrickle) {
    for (char& c : answer.body) {
      std::string_view byte(&c, 1);
      Result<void> written = co_await exchange.Write(byte);
      if (!written) co_return;
      co_await async::Sleep(std::chrono::milliseconds(50));
    }
    (void)co_await exchange.Finish();
    co_return;
  }
  std::string_view half = std::string_view(answer.body).substr(0, answer.body.size() / 2);
  (void)co_await exchange.Write(half);
  if (fault == Fault::kStall) co_await exchange.WaitForHangup();
  exchange.Abort();
}

std::optional<S3Stub::Answer> S3Stub::CheckSignature(const Request& request) const {
  auto refuse = [](std::string_view code, std::string_view more = {}) {
    return Answer{.status = 403, .headers = {}, .body = ErrorXml(code, more)};
  };
  sigv4::Request signing{.method = request.head.method,
                         .path = request.path,
                         .query = request.query,
                         .headers = {},
                         .payload_hash = {}};
  std::string field(request.head.headers.Get("Authorization").value_or(""));
  bool presigned = Has(request.query, "X-Amz-Signature");
  std::string credential = Part(field, "Credential");
  std::string names = Part(field, "SignedHeaders");
  std::string signature = Part(field, "Signature");
  sigv4::Scope scope{.time = std::string(request.head.headers.Get("x-amz-date").value_or("")),
                     .region = region};
  if (presigned) {
    credential = Value(request.query, "X-Amz-Credential");
    names = Value(request.query, "X-Amz-SignedHeaders");
    signature = Value(request.query, "X-Amz-Signature");
    scope.time = Value(request.query, "X-Amz-Date");
    std::erase_if(signing.query, [](auto& pair) { return pair.first == "X-Amz-Signature"; });
    signing.payload_hash = sigv4::kUnsignedPayload;
  } else {
    signing.payload_hash = request.head.headers.Get("x-amz-content-sha256").value_or("");
    if (signing.payload_hash != crypto::Sha256Hex(request.body)) {
      return refuse("XAmzContentSHA256Mismatch");
    }
  }
  if (!credential.starts_with(fmt::format("{}/", kAccessKey))) return refuse("InvalidAccessKeyId");
  if (credential != fmt::format("{}/{}", kAccessKey, scope.Text())) {
    Answer answer =
        refuse("AuthorizationHeaderMalformed", fmt::format("<Region>{}</Region>", region));
    answer.status = 400;
    return answer;
  }
  std::string_view rest = names;
  while (!rest.empty()) {
    std::string_view name = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    signing.headers.emplace_back(name, request.head.headers.Joined(name));
  }
  std::string right = sigv4::Signature(
      kSecretKey, scope, sigv4::StringToSign(scope, sigv4::CanonicalRequest(signing)));
  if (signature != right) return refuse("SignatureDoesNotMatch");
  return std::nullopt;
}

S3Stub::Answer S3Stub::Do(const Request& request, Fault fault) {
  auto error = [](int status, std::string_view code) {
    return Answer{.status = status, .headers = {}, .body = ErrorXml(code)};
  };
  switch (fault) {
    case Fault::kBusy:
    case Fault::kRefuseEarly:
      return error(503, "SlowDown");
    case Fault::kBusyWithTime: {
      Answer answer = error(503, "SlowDown");
      answer.headers.Set("Retry-After", "1");
      return answer;
    }
    case Fault::kFull:
      return error(507, "XMinioStorageFull");
    case Fault::kSkew:
      return error(403, "RequestTimeTooSkewed");
    case Fault::kSkewDate: {
      Answer answer{.status = 403};
      answer.headers.Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT");
      return answer;
    }
    case Fault::kExpired:
      return error(400, "ExpiredToken");
    case Fault::kQuotesKey:
      return error(400, kSecretKey);
    case Fault::kHtml404:
      return {.status = 404, .headers = {}, .body = "<html>not here</html>"};
    default:
      break;
  }
  if (auto refused = CheckSignature(request)) return *std::move(refused);
  if (!request.path.starts_with(kBucket)) return error(404, "NoSuchBucket");
  Request inner = request;
  inner.key = request.path.substr(kBucket.size());
  std::scoped_lock lock(mutex_);
  if (inner.key.empty()) return List(inner);
  if (Has(request.query, "uploads") || Has(request.query, "uploadId")) return Upload(inner, fault);
  return Object(inner, fault);
}

}  // namespace atl::blob
