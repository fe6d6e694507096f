// SPDX-License-Identifier: Apache-2.0
// One request to S3 with all that may be needed for an answer: connections, signatures, deadlines,
// retries.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "blob/s3.h"
#include "blob/s3_error.h"
#include "blob/s3_pool.h"
#include "blob/sigv4.h"

namespace atl::blob {

struct S3Request {
  std::string method;
  std::string key;  // in the bucket; empty: the bucket itself
  sigv4::Pairs query;
  sigv4::Pairs headers;  // besides those that every request has
  std::span<const std::string_view> body;
  uint64_t limit = 8ULL << 20U;  // of the body of an answer that is a success
  std::string what;              // "get config": for errors
  // An answer that fails this is as bad as none.
  std::function<Result<void>(const S3Response&)> check;
};

// How a bucket is reached.
struct S3Address {
  bool tls = true;
  std::string host;  // without brackets
  uint16_t port = 443;
  std::string authority;  // the value of Host
  std::string path;       // in front of a key: "/" or "/bucket/"
};

class S3Client {
 public:
  static Result<std::unique_ptr<S3Client>> Make(async::Runtime& runtime, S3Options options,
                                                std::atomic<uint64_t>& requests);

  // Any success (2xx), or why there is none.
  Result<S3Response> Send(const S3Request& request, std::stop_token stop);
  Result<std::string> Presign(const std::string& key, std::chrono::seconds valid);

  const S3Options& options() const { return options_; }
  // "s3://bucket/prefix"
  const std::string& name() const { return name_; }

 private:
  // What came of one attempt.
  struct Outcome {
    Result<S3Response> response;
    bool retry = false;
    bool stale = false;  // a kept connection was dead: nothing has been tried yet
    std::string region;
    std::chrono::milliseconds retry_after{0};
  };

  S3Client(async::Runtime& runtime, S3Options options, std::atomic<uint64_t>& requests);

  Result<S3Address> AddressOf(const std::string& region) const;
  std::string CurrentRegion() const;
  // True when that is news which makes another try worth it.
  bool LearnRegion(const std::string& region);
  http::RequestHead SignedHead(const S3Request& request, const std::string& payload_hash,
                               const S3Address& address, const std::string& region) const;
  Outcome Attempt(const S3Request& request, const std::string& payload_hash, bool fresh,
                  std::chrono::milliseconds left, const std::stop_token& stop);
  Outcome Judge(const S3Request& request, S3Response response) const;
  // Nothing of what is secret, whoever put it there.
  Error Clean(Error error, std::string_view what) const;

  S3Options options_;
  std::string name_;
  sigv4::Credentials credentials_;
  bool fixed_region_ = true;
  std::atomic<uint64_t>& requests_;
  mutable std::mutex mutex_;
  std::string region_;
  S3Pool pool_;
};

}  // namespace atl::blob
