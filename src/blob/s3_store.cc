// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "blob/key.h"
#include "blob/s3.h"
#include "blob/s3_client.h"
#include "blob/s3_upload.h"
#include "blob/s3_xml.h"
#include "crypto/bytes.h"

namespace atl::blob {
namespace {

constexpr size_t kMaxEntries = 20'000'000;
constexpr std::chrono::seconds kMaxPresign(7L * 24 * 3600);  // S3's

Unexpected BadAnswer(std::string message) {
  return Fail(Code::kBadGateway, std::move(message), "STORE_BAD_ANSWER");
}

template <class T>
std::optional<T> ParseNumber(std::string_view text) {
  T number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "2009-10-12T17:50:30.000Z"; 0 for anything else.
int64_t ParseTime(std::string_view text) {
  tm parts{};
  std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr || (*end != '.' && *end != 'Z')) return 0;
  int64_t fraction = 0;
  if (*end == '.') fraction = ParseNumber<int64_t>(std::string(end + 1).substr(0, 3)).value_or(0);
  return ::timegm(&parts) * 1000LL + fraction;
}

struct Range {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t total = 0;
};

// "bytes 0-9/443"
std::optional<Range> ParseContentRange(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  size_t dash = text.find('-');
  size_t slash = text.find('/');
  if (!text.starts_with(kUnit) || dash == std::string_view::npos || slash < dash ||
      slash == std::string_view::npos) {
    return std::nullopt;
  }
  auto first = ParseNumber<uint64_t>(text.substr(kUnit.size(), dash - kUnit.size()));
  auto last = ParseNumber<uint64_t>(text.substr(dash + 1, slash - dash - 1));
  auto total = ParseNumber<uint64_t>(text.substr(slash + 1));
  if (!first || !last || !total) return std::nullopt;
  return Range{.first = *first, .last = *last, .total = *total};
}

Result<void> CheckRange(const S3Response& response, uint64_t offset, uint64_t length) {
  if (response.status != 206) {
    return BadAnswer(
        fmt::format("the store answered {} to a request for a range", response.status));
  }
  std::string_view text = response.headers.Get("Content-Range").value_or("");
  auto range = ParseContentRange(text);
  if (range && range->total < offset + length) {
    return Fail(
        Code::kNotFound,
        fmt::format("it has {} bytes, too few for {} from {}", range->total, length, offset),
        "BLOB_TRUNCATED");
  }
  if (!range || range->first != offset || range->last != offset + length - 1 ||
      response.body.size() != length) {
    return BadAnswer("the store answered with another range than it was asked for");
  }
  return {};
}

struct Page {
  std::vector<Entry> entries;
  std::string next;  // empty: this was the last one
};

Result<Page> ParsePage(std::string_view xml) {
  ASSIGN(XmlElement document, ParseXml(xml, "ListBucketResult"));
  Page page;
  for (const XmlElement& element : document.children) {
    if (element.name != "Contents") continue;
    auto size = ParseNumber<uint64_t>(element.Text("Size"));
    std::string_view key = element.Text("Key");
    if (!size || key.empty()) return BadAnswer("the store's list has an entry without key or size");
    page.entries.push_back({.key = std::string(key),
                            .size = *size,
                            .modified_ms = ParseTime(element.Text("LastModified"))});
  }
  std::string_view more = document.Text("IsTruncated");
  if (more != "true" && more != "false") return BadAnswer("the store's list does not say its end");
  if (more == "false") return page;
  page.next = document.Text("NextContinuationToken");
  if (page.next.empty()) return BadAnswer("the store's list goes on, but does not say where");
  return page;
}

class S3Store : public Store, public std::enable_shared_from_this<S3Store> {
 public:
  static Result<std::shared_ptr<S3Store>> Open(async::Runtime& runtime, S3Options options) {
    std::shared_ptr<S3Store> store(new S3Store);
    ASSIGN(store->client_, S3Client::Make(runtime, std::move(options), store->requests_));
    const std::string& prefix = store->client_->options().prefix;
    if (!prefix.empty()) store->prefix_ = prefix + "/";
    return store;
  }

  using Store::Put;
  Result<void> Put(const std::string& key, std::span<const std::string_view> pieces,
                   std::stop_token stop) override {
    return PutWith(key, pieces, {}, std::move(stop));
  }

  Result<void> PutWith(const std::string& key, std::span<const std::string_view> pieces,
                       sigv4::Pairs headers, std::stop_token stop) {
    ASSIGN(S3Request request, RequestOf("PUT", "put", key));
    request.body = pieces;
    request.headers = std::move(headers);
    TRY(client_->Send(request, std::move(stop)));
    return {};
  }

  Result<std::string> Get(const std::string& key, uint64_t limit, std::stop_token stop) override {
    ASSIGN(S3Request request, RequestOf("GET", "get", key));
    request.limit = limit;
    request.check = [](const S3Response& response) -> Result<void> {
      if (response.status == 200) return {};
      return BadAnswer(fmt::format("the store answered {}", response.status));
    };
    ASSIGN(S3Response response, client_->Send(request, std::move(stop)));
    return std::move(response.body);
  }

  Result<std::string> GetRange(const std::string& key, uint64_t offset, uint64_t length,
                               std::stop_token stop) override {
    if (length > UINT64_MAX - offset) {
      return Fail(Code::kNotFound, fmt::format("get {}: no blob is that long", key),
                  "BLOB_TRUNCATED");
    }
    // An empty range cannot be said in HTTP.
    if (length == 0) return EmptyRange(key, offset, std::move(stop));
    ASSIGN(S3Request request, RequestOf("GET", "get a range of", key));
    request.headers.emplace_back("Range", fmt::format("bytes={}-{}", offset, offset + length - 1));
    request.limit = length;
    request.check = [=](const S3Response& response) {
      return CheckRange(response, offset, length);
    };
    Result<S3Response> response = client_->Send(request, std::move(stop));
    if (response) return std::move(response->body);
    if (response.error().code == Code::kTooLarge) {
      response.error().code = Code::kBadGateway;
      response.error().reason = "STORE_BAD_ANSWER";
    }
    return Unexpected(std::move(response).error());
  }

  Result<std::optional<uint64_t>> Size(const std::string& key, std::stop_token stop) override {
    ASSIGN(S3Request request, RequestOf("HEAD", "look at", key));
    request.check = [](const S3Response& response) -> Result<void> {
      if (ParseNumber<uint64_t>(response.headers.Get("Content-Length").value_or(""))) return {};
      return BadAnswer("the store does not say how long it is");
    };
    Result<S3Response> response = client_->Send(request, std::move(stop));
    if (response) return ParseNumber<uint64_t>(*response->headers.Get("Content-Length"));
    if (response.error().reason == "BLOB_NOT_FOUND") return std::optional<uint64_t>();
    return Unexpected(std::move(response).error());
  }

  Result<std::vector<Entry>> List(const ListOptions& options, std::stop_token stop) override {
    TRY(CheckPrefix(options.prefix));
    std::vector<Entry> entries;
    std::string next;
    while (true) {
      ASSIGN(Page page, ListPage(options, next, stop));
      for (Entry& entry : page.entries) {
        if (!entry.key.starts_with(prefix_)) continue;
        entry.key.erase(0, prefix_.size());
        // Others may keep what they like beside a repository.
        if (!CheckKey(entry.key) || !entry.key.starts_with(options.prefix)) continue;
        if (entry.key > options.start_after) entries.push_back(std::move(entry));
      }
      if (page.next.empty()) break;
      if (page.next == next || page.entries.empty() || entries.size() > kMaxEntries) {
        return BadAnswer(
            fmt::format("list {} in {}: the store's list does not end", options.prefix, name()));
      }
      next = std::move(page.next);
    }
    std::ranges::sort(entries, {}, &Entry::key);
    return entries;
  }

  Result<void> Remove(const std::string& key, std::stop_token stop) override {
    ASSIGN(S3Request request, RequestOf("DELETE", "remove", key));
    Result<S3Response> response = client_->Send(request, std::move(stop));
    if (response || response.error().reason == "BLOB_NOT_FOUND") return {};
    return Unexpected(std::move(response).error());
  }

  Result<std::unique_ptr<StreamUpload>> PutStream(const std::string& key, std::string content_type,
                                                  std::stop_token stop) override {
    TRY(CheckKey(key));
    std::shared_ptr<S3Client> client(shared_from_this(), client_.get());
    return std::unique_ptr<StreamUpload>(std::make_unique<S3Upload>(
        std::move(client), prefix_ + key, std::move(content_type), std::move(stop)));
  }

  Result<std::string> Presign(const std::string& key, std::chrono::seconds valid) override {
    TRY(CheckKey(key));
    if (valid.count() < 1 || valid > kMaxPresign) {
      return Fail(Code::kInvalidArgument, "an URL is valid for 1 second to 7 days");
    }
    return client_->Presign(prefix_ + key, valid);
  }

  std::string name() const override { return client_->name(); }
  bool remote() const override { return true; }

 private:
  S3Store() = default;

  Result<S3Request> RequestOf(std::string method, std::string_view verb,
                              const std::string& key) const {
    TRY(CheckKey(key));
    return S3Request{
        .method = std::move(method), .key = prefix_ + key, .what = fmt::format("{} {}", verb, key)};
  }

  Result<std::string> EmptyRange(const std::string& key, uint64_t offset, std::stop_token stop) {
    ASSIGN(std::optional<uint64_t> size, Size(key, std::move(stop)));
    if (size && *size >= offset) return std::string();
    return Fail(Code::kNotFound,
                fmt::format("get a range of {} in {}: it is too short or missing", key, name()),
                size ? "BLOB_TRUNCATED" : "BLOB_NOT_FOUND");
  }

  Result<Page> ListPage(const ListOptions& options, const std::string& next,
                        const std::stop_token& stop) {
    S3Request request{.method = "GET", .key = ""};
    request.query = {{"list-type", "2"}, {"max-keys", "1000"}};
    std::string prefix = prefix_ + options.prefix;
    if (!prefix.empty()) request.query.emplace_back("prefix", prefix);
    if (!next.empty()) {
      request.query.emplace_back("continuation-token", next);
    } else if (!options.start_after.empty()) {
      request.query.emplace_back("start-after", prefix_ + options.start_after);
    }
    request.what = fmt::format("list {}", options.prefix);
    Page page;
    request.check = [&page](const S3Response& response) -> Result<void> {
      ASSIGN(page, ParsePage(response.body));
      return {};
    };
    TRY(client_->Send(request, stop));
    return page;
  }

  std::unique_ptr<S3Client> client_;
  std::string prefix_;  // empty, or ends with a slash
};

}  // namespace

Result<std::shared_ptr<Store>> OpenS3(async::Runtime& runtime, S3Options options) {
  ASSIGN(std::shared_ptr<S3Store> store, S3Store::Open(runtime, std::move(options)));
  return store;
}

Result<bool> ProbeConditionalPut(Store& s3) {
  auto* store = dynamic_cast<S3Store*>(&s3);
  if (store == nullptr) {
    return Fail(Code::kInvalidArgument, fmt::format("{} is no S3 store", s3.name()));
  }
  std::string key = fmt::format("probe-{}", crypto::RandomHex(16));
  std::string_view body = "probe";
  auto put = [&] { return store->PutWith(key, std::span(&body, 1), {{"If-None-Match", "*"}}, {}); };
  Result<void> first = put();
  Result<void> second;
  if (first) second = put();
  TRY(store->Remove(key, {}));
  const Error* error = !first ? &first.error() : !second ? &second.error() : nullptr;
  if (error == nullptr) return false;
  if (error->reason == "STORE_PRECONDITION_FAILED") return first.has_value();
  // "Not implemented" and whatever else a store says to a field that it does not know.
  if (error->reason == "STORE_NOT_IMPLEMENTED" || error->reason == "STORE_REFUSED") return false;
  return Unexpected(*error);
}

}  // namespace atl::blob
