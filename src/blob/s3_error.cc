// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "blob/s3_xml.h"

namespace atl::blob {
namespace {

constexpr size_t kMaxQuoted = 200;
constexpr int64_t kMaxSkew = 15L * 60;  // what S3 allows

struct Meaning {
  std::string_view code;
  Code kind;
  std::string_view reason;
  bool retry = false;
};

constexpr std::string_view kDenied = "STORE_ACCESS_DENIED";
constexpr std::string_view kUnavailable = "STORE_UNAVAILABLE";
constexpr std::string_view kNoSpace = "NO_SPACE";
constexpr std::string_view kSkew = "STORE_CLOCK_SKEW";

constexpr auto kMeanings = std::to_array<Meaning>({
    {"AccessDenied", Code::kPermissionDenied, kDenied},
    {"AccountProblem", Code::kPermissionDenied, kDenied},
    {"AllAccessDisabled", Code::kPermissionDenied, kDenied},
    {"ExpiredToken", Code::kPermissionDenied, kDenied},
    {"InvalidAccessKeyId", Code::kPermissionDenied, kDenied},
    {"InvalidSecurity", Code::kPermissionDenied, kDenied},
    {"InvalidToken", Code::kPermissionDenied, kDenied},
    {"SignatureDoesNotMatch", Code::kPermissionDenied, kDenied},
    {"TokenRefreshRequired", Code::kPermissionDenied, kDenied},
    {"Unauthorized", Code::kPermissionDenied, kDenied},
    {"RequestTimeTooSkewed", Code::kFailedPrecondition, kSkew},
    {"RequestExpired", Code::kFailedPrecondition, kSkew},
    {"NoSuchBucket", Code::kNotFound, "STORE_BUCKET_NOT_FOUND"},
    {"NoSuchKey", Code::kNotFound, "BLOB_NOT_FOUND"},
    {"NoSuchUpload", Code::kNotFound, "UPLOAD_NOT_FOUND"},
    {"InvalidRange", Code::kNotFound, "BLOB_TRUNCATED"},
    {"InsufficientStorage", Code::kResourceExhausted, kNoSpace},
    {"QuotaExceeded", Code::kResourceExhausted, kNoSpace},
    {"XMinioStorageFull", Code::kResourceExhausted, kNoSpace},
    {"PreconditionFailed", Code::kFailedPrecondition, "STORE_PRECONDITION_FAILED"},
    {"NotImplemented", Code::kFailedPrecondition, "STORE_NOT_IMPLEMENTED"},
    {"BadDigest", Code::kUnavailable, kUnavailable, true},
    {"ConditionalRequestConflict", Code::kUnavailable, kUnavailable, true},
    {"IncompleteBody", Code::kUnavailable, kUnavailable, true},
    {"InternalError", Code::kUnavailable, kUnavailable, true},
    {"OperationAborted", Code::kUnavailable, kUnavailable, true},
    {"RequestTimeout", Code::kUnavailable, kUnavailable, true},
    {"ServiceUnavailable", Code::kUnavailable, kUnavailable, true},
    {"SlowDown", Code::kUnavailable, kUnavailable, true},
    {"SlowDownRead", Code::kUnavailable, kUnavailable, true},
    {"SlowDownWrite", Code::kUnavailable, kUnavailable, true},
    {"ThrottlingException", Code::kUnavailable, kUnavailable, true},
    {"TooManyRequests", Code::kUnavailable, kUnavailable, true},
    {"XAmzContentSHA256Mismatch", Code::kUnavailable, kUnavailable, true},
});

std::string Printable(std::string_view text) {
  std::string printable(text.substr(0, kMaxQuoted));
  for (char& c : printable) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return printable;
}

std::optional<int64_t> ParseDate(std::string_view text) {
  tm parts{};
  std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return ::timegm(&parts);
}

// Answers to HEAD have no body: the store's clock tells this error from a wrong key.
bool ClocksDiffer(const S3Response& response) {
  auto date = response.headers.Get("Date");
  if (!date) return false;
  auto theirs = ParseDate(*date);
  return theirs && std::abs(*theirs - static_cast<int64_t>(::time(nullptr))) > kMaxSkew;
}

Meaning ByStatus(const S3Response& response, bool has_code) {
  int status = response.status;
  bool empty = response.body.empty();
  if (status == 401 || status == 403) {
    if (!has_code && ClocksDiffer(response)) return {"", Code::kFailedPrecondition, kSkew};
    return {"", Code::kPermissionDenied, kDenied};
  }
  // A page of some other server that says 404 does not mean that there is no such blob.
  if (status == 404 && empty) return {"", Code::kNotFound, "BLOB_NOT_FOUND"};
  if (status == 412) return {"", Code::kFailedPrecondition, "STORE_PRECONDITION_FAILED"};
  if (status == 416) return {"", Code::kNotFound, "BLOB_TRUNCATED"};
  if (status == 501) return {"", Code::kFailedPrecondition, "STORE_NOT_IMPLEMENTED"};
  if (status == 507) return {"", Code::kResourceExhausted, kNoSpace};
  if (status >= 500 || status == 408 || status == 429) {
    return {"", Code::kUnavailable, kUnavailable, true};
  }
  return {"", Code::kBadGateway, "STORE_REFUSED"};
}

bool IsRegion(std::string_view text) {
  return !text.empty() && text.size() <= 40 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace

S3Failure FailureOf(const S3Response& response) {
  std::string code;
  std::string message;
  std::string region(response.headers.Get("x-amz-bucket-region").value_or(""));
  if (auto document = ParseXml(response.body, "Error"); document) {
    code = Printable(document->Text("Code"));
    message = Printable(document->Text("Message"));
    if (region.empty()) region = document->Text("Region");
  }
  const auto* known = std::ranges::find(kMeanings, code, &Meaning::code);
  Meaning meaning = known != kMeanings.end() ? *known : ByStatus(response, !code.empty());
  S3Failure failure{.error = {.code = meaning.kind, .reason = std::string(meaning.reason)},
                    .retry = meaning.retry,
                    .region = IsRegion(region) ? region : ""};
  failure.error.message = fmt::format("the store answered {}", response.status);
  if (!code.empty()) failure.error.message += fmt::format(" {}", code);
  if (!message.empty()) failure.error.message += fmt::format(": {}", message);
  if (meaning.reason == kSkew) failure.error.message += " (set this machine's clock)";
  return failure;
}

}  // namespace atl::blob
