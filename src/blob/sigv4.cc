// SPDX-License-Identifier: Apache-2.0
#include "blob/sigv4.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "crypto/bytes.h"
#include "crypto/hmac.h"
#include "crypto/sha256.h"

namespace atl::blob::sigv4 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Without white space at its ends, and one space where there are several.
std::string Squeeze(std::string_view text) {
  std::string squeezed;
  for (char c : text) {
    bool space = c == ' ' || c == '\t';
    if (!space) {
      squeezed += c;
    } else if (!squeezed.empty() && squeezed.back() != ' ') {
      squeezed += ' ';
    }
  }
  if (squeezed.ends_with(' ')) squeezed.pop_back();
  return squeezed;
}

// By lowercase name; several fields of one name are one value.
std::map<std::string, std::string> CanonicalHeaders(const Pairs& headers) {
  std::map<std::string, std::string> sorted;
  for (const auto& [name, value] : headers) {
    auto [place, is_new] = sorted.try_emplace(Lower(name), Squeeze(value));
    if (!is_new) place->second += "," + Squeeze(value);
  }
  return sorted;
}

std::string_view AsView(const crypto::Sha256::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

std::string Scope::Text() const {
  return fmt::format("{}/{}/{}/aws4_request", std::string_view(time).substr(0, 8), region, service);
}

std::string FormatTime(int64_t unix_seconds) {
  auto time = static_cast<time_t>(unix_seconds);
  tm parts{};
  ::gmtime_r(&time, &parts);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string UriEncode(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slashes);
    if (plain) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string CanonicalQuery(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(UriEncode(name), UriEncode(value));
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text += '&';
    text += fmt::format("{}={}", name, value);
  }
  return text;
}

std::string SignedHeaders(const Pairs& headers) {
  std::string names;
  for (const auto& [name, value] : CanonicalHeaders(headers)) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string CanonicalRequest(const Request& request) {
  std::string fields;
  for (const auto& [name, value] : CanonicalHeaders(request.headers)) {
    fields += fmt::format("{}:{}\n", name, value);
  }
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, UriEncode(request.path, true),
                     CanonicalQuery(request.query), fields, SignedHeaders(request.headers),
                     request.payload_hash);
}

std::string StringToSign(const Scope& scope, std::string_view canonical_request) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, scope.time, scope.Text(),
                     crypto::Sha256Hex(canonical_request));
}

std::string Signature(std::string_view secret_key, const Scope& scope,
                      std::string_view string_to_sign) {
  auto key = crypto::HmacSha256(fmt::format("AWS4{}", secret_key), scope.time.substr(0, 8));
  key = crypto::HmacSha256(AsView(key), scope.region);
  key = crypto::HmacSha256(AsView(key), scope.service);
  key = crypto::HmacSha256(AsView(key), "aws4_request");
  return crypto::Hex(crypto::HmacSha256(AsView(key), string_to_sign));
}

std::string Authorization(const Credentials& credentials, const Scope& scope,
                          const Request& request) {
  std::string signature =
      Signature(credentials.secret_key, scope, StringToSign(scope, CanonicalRequest(request)));
  return fmt::format("{} Credential={}/{},SignedHeaders={},Signature={}", kAlgorithm,
                     credentials.access_key, scope.Text(), SignedHeaders(request.headers),
                     signature);
}

std::string PresignedQuery(const Credentials& credentials, const Scope& scope, Request request,
                           std::chrono::seconds valid) {
  request.payload_hash = kUnsignedPayload;
  request.query.emplace_back("X-Amz-Algorithm", kAlgorithm);
  request.query.emplace_back("X-Amz-Credential",
                             fmt::format("{}/{}", credentials.access_key, scope.Text()));
  request.query.emplace_back("X-Amz-Date", scope.time);
  request.query.emplace_back("X-Amz-Expires", fmt::to_string(valid.count()));
  request.query.emplace_back("X-Amz-SignedHeaders", SignedHeaders(request.headers));
  if (!credentials.session_token.empty()) {
    request.query.emplace_back("X-Amz-Security-Token", credentials.session_token);
  }
  std::string signature =
      Signature(credentials.secret_key, scope, StringToSign(scope, CanonicalRequest(request)));
  return fmt::format("{}&X-Amz-Signature={}", CanonicalQuery(request.query), signature);
}

}  // namespace atl::blob::sigv4
