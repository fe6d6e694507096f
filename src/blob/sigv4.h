// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 4, without time and network: requests in, signatures out.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::blob::sigv4 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty: none
};

// Nothing in here is percent-encoded yet.
struct Request {
  std::string method;
  std::string path;  // from the slash
  Pairs query;
  Pairs headers;  // all of them are signed; Host is among them
  std::string payload_hash;
};

// When and where a signature is good.
struct Scope {
  std::string time;  // FormatTime
  std::string region;
  std::string service = "s3";
  std::string Text() const;  // "20130524/us-east-1/s3/aws4_request"
};

// "20130524T000000Z"
std::string FormatTime(int64_t unix_seconds);
std::string UriEncode(std::string_view text, bool keep_slashes = false);
// Encoded, sorted and joined: also what is sent.
std::string CanonicalQuery(const Pairs& query);

std::string CanonicalRequest(const Request& request);
std::string StringToSign(const Scope& scope, std::string_view canonical_request);
std::string Signature(std::string_view secret_key, const Scope& scope,
                      std::string_view string_to_sign);
std::string SignedHeaders(const Pairs& headers);

// The value of the Authorization field.
std::string Authorization(const Credentials& credentials, const Scope& scope,
                          const Request& request);
// The query, encoded, that makes `request` good for whoever has it. Its payload is not signed.
std::string PresignedQuery(const Credentials& credentials, const Scope& scope, Request request,
                           std::chrono::seconds valid);

}  // namespace atl::blob::sigv4
