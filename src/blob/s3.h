// SPDX-License-Identifier: Apache-2.0
// An S3-compatible store: AWS, R2, Ceph, MinIO, Swift's s3api.
// Signatures: AWS Signature Version 4, https://docs.aws.amazon.com/general/latest/gr/sigv4.html
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "async/runtime.h"
#include "base/result.h"
#include "blob/store.h"

namespace atl::blob {

struct S3Options {
  std::string bucket;
  std::string prefix;    // without slashes at its ends; may be empty
  std::string endpoint;  // "https://host[:port]"; empty: AWS's of the region
  std::string region = "auto";
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty: none
  // Path style puts the bucket into the path. kAuto: virtual-host style for AWS, path otherwise.
  enum class Style { kAuto, kPath, kVirtualHost } style = Style::kAuto;
  std::string ca_file;  // PEM; empty: the system's roots
  int connections = 8;  // at once
  int attempts = 6;     // of a request that fails with 5xx, 429, a timeout or a reset
  std::chrono::milliseconds idle_limit{20'000};    // nothing moves on a connection: timeout
  std::chrono::milliseconds total_limit{120'000};  // of one request with all its attempts
  uint64_t part_bytes = 16ULL << 20U;              // of a multipart upload
};

// Errors: kPermissionDenied (STORE_ACCESS_DENIED: wrong or expired credentials), kNotFound
// (STORE_BUCKET_NOT_FOUND), kUnavailable (STORE_UNAVAILABLE: 5xx, resets and timeouts after all
// attempts; STORE_TLS_UNTRUSTED), kResourceExhausted (NO_SPACE: the store is full),
// kFailedPrecondition (STORE_CLOCK_SKEW), kBadGateway (STORE_BAD_ANSWER: not what S3 says;
// STORE_REFUSED: an error that has no meaning here).
// Region "auto" is what the endpoint says it is; AWS's is looked for from us-east-1. The calling
// thread must be none of the runtime's shards, which run the requests: end all calls before it
// stops, and the store before it goes.
Result<std::shared_ptr<Store>> OpenS3(async::Runtime& runtime, S3Options options);

// Whether the store honours `If-None-Match: *`: puts a small blob twice and removes it again. True
// only for a 200 and then a 412.
Result<bool> ProbeConditionalPut(Store& s3);

}  // namespace atl::blob
