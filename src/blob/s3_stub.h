// SPDX-License-Identifier: Apache-2.0
// For tests: an S3 server in memory, on loopback. Verifies signatures and misbehaves on request.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "async/runtime.h"
#include "blob/s3.h"
#include "blob/sigv4.h"
#include "http/server.h"

namespace atl::blob {

enum class Fault {
  kNone,          // this request is served as it should be
  kBusy,          // 503 SlowDown
  kBusyWithTime,  // the same with Retry-After: 1
  kRefuseEarly,   // 503 before the body has been read, then the connection is cut
  kStallUpload,   // reads nothing of the body and says nothing
  kStall,         // half of the answer, then nothing
  kTrickle,       // the answer, byte by byte
  kReset,         // half of the answer, then the connection is cut
  kWrongRange,    // a Content-Range of other bytes
  kNoRange,       // 200 with everything
  kFull,
  kSkew,       // RequestTimeTooSkewed
  kSkewDate,   // 403 without a body, and a Date of yesterday
  kExpired,    // ExpiredToken
  kQuotesKey,  // an error that quotes the secret key
  kTruncated,  // XML that ends too early
  kHtml404,    // a page of some other server
  kOtherTag,   // an answer to a part without an ETag
  kError200,   // 200, but the body is an error
  kLoseAnswer  // does what was asked, then cuts the connection
};

class S3Stub {
 public:
  struct Seen {
    std::string method;
    std::string path;  // decoded
    sigv4::Pairs query;
    std::string host;
    std::string content_type;
  };
  enum class Conditional { kHonoured, kIgnored, kNotImplemented };

  S3Stub();
  ~S3Stub();
  S3Stub(const S3Stub&) = delete;
  S3Stub& operator=(const S3Stub&) = delete;

  async::Runtime& runtime() { return runtime_; }
  S3Options options() const;  // that fit this server; small limits
  // What happens to the requests that come next, one each.
  void Next(std::vector<Fault> faults);
  // To all of them, after those.
  void Always(Fault fault);
  std::vector<Seen> TakeSeen();
  std::map<std::string, std::string> objects() const;  // by key in the bucket
  void SetObject(const std::string& key, std::string data);
  size_t open_uploads() const;
  size_t connections() const;  // that have sent a request

  Conditional conditional = Conditional::kHonoured;
  std::string region = "test-1";
  size_t page_size = 1000;
  bool endless = false;  // lists do not end

 private:
  struct Request;
  struct Answer {
    int status = 200;
    http::Headers headers;
    std::string body;
  };
  async::Task<> Serve(http::Exchange& exchange);
  async::Task<> Send(http::Exchange& exchange, Answer answer, Fault fault);
  std::optional<Answer> CheckSignature(const Request& request) const;
  Answer Do(const Request& request, Fault fault);
  Answer Object(const Request& request, Fault fault);
  Answer Read(const Request& request, const std::string& data, Fault fault) const;
  Answer Upload(const Request& request, Fault fault);
  Answer List(const Request& request) const;

  async::Runtime runtime_{3, 1};
  std::jthread shard_;
  std::unique_ptr<http::Server> server_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::deque<Fault> faults_;
  Fault always_ = Fault::kNone;
  std::vector<Seen> seen_;
  std::set<std::string> peers_;
  std::map<std::string, std::string> objects_;
  std::map<std::string, std::map<int, std::string>> uploads_;
  int next_upload_ = 1;
};

struct S3Stub::Request {
  http::RequestHead head;
  std::string path;
  sigv4::Pairs query;
  std::string body;
  std::string key;
};

inline std::string Value(const sigv4::Pairs& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs) {
    if (key == name) return value;
  }
  return {};
}

inline bool Has(const sigv4::Pairs& pairs, std::string_view name) {
  return std::ranges::any_of(pairs, [&](auto& pair) { return pair.first == name; });
}

inline std::string ErrorXml(std::string_view code, std::string_view more = {}) {
  return fmt::format(
      "<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>so it is</Message>{}</Error>", code,
      more);
}

}  // namespace atl::blob
