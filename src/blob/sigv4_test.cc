// SPDX-License-Identifier: Apache-2.0
// The examples of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
#include "blob/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/sha256.h"

namespace atl::blob::sigv4 {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr std::string_view kEmptyHash =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const Credentials kCredentials{.access_key = "AKIAIOSFODNN7EXAMPLE",
                               .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                               .session_token = {}};
const Scope kScope{.time = "20130524T000000Z", .region = "us-east-1"};

Request Example(std::string method, std::string path, std::string payload_hash) {
  Request request{.method = std::move(method),
                  .path = std::move(path),
                  .query = {},
                  .headers = {},
                  .payload_hash = std::move(payload_hash)};
  request.headers = {{"Host", "examplebucket.s3.amazonaws.com"},
                     {"x-amz-content-sha256", request.payload_hash},
                     {"x-amz-date", kScope.time}};
  return request;
}

std::string SignatureOf(const Request& request) {
  std::string field = Authorization(kCredentials, kScope, request);
  return field.substr(field.rfind('=') + 1);
}

TEST(SigV4, GetObjectWithRange) {
  Request request = Example("GET", "/test.txt", std::string(kEmptyHash));
  request.headers.emplace_back("Range", "bytes=0-9");
  EXPECT_EQ(CanonicalRequest(request),
            "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
            "x-amz-content-sha256:"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
            "x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(StringToSign(kScope, CanonicalRequest(request)),
            "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
  EXPECT_EQ(Authorization(kCredentials, kScope, request),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4, PutObject) {
  Request request = Example("PUT", "/test$file.text", crypto::Sha256Hex("Welcome to Amazon S3."));
  request.headers.emplace_back("Date", "Fri, 24 May 2013 00:00:00 GMT");
  request.headers.emplace_back("x-amz-storage-class", "REDUCED_REDUNDANCY");
  EXPECT_EQ(SignatureOf(request),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(SigV4, GetBucketLifecycle) {
  Request request = Example("GET", "/", std::string(kEmptyHash));
  request.query = {{"lifecycle", ""}};
  EXPECT_EQ(SignatureOf(request),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(SigV4, ListObjects) {
  Request request = Example("GET", "/", std::string(kEmptyHash));
  request.query = {{"prefix", "J"}, {"max-keys", "2"}};
  EXPECT_EQ(SignatureOf(request),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, PresignedGet) {
  Request request{
      .method = "GET", .path = "/test.txt", .query = {}, .headers = {}, .payload_hash = {}};
  request.headers = {{"Host", "examplebucket.s3.amazonaws.com"}};
  EXPECT_EQ(PresignedQuery(kCredentials, kScope, request, std::chrono::seconds(86400)),
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524"
            "%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
            "&X-Amz-SignedHeaders=host&X-Amz-Signature="
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST(SigV4, ASessionTokenIsPartOfAPresignedQuery) {
  Credentials credentials = kCredentials;
  credentials.session_token = "to/ken";
  Request request{
      .method = "GET", .path = "/x", .query = {}, .headers = {{"Host", "h"}}, .payload_hash = {}};
  EXPECT_THAT(PresignedQuery(credentials, kScope, request, std::chrono::seconds(1)),
              HasSubstr("&X-Amz-Security-Token=to%2Fken&"));
}

TEST(SigV4, EncodesBytesAndSortsByThem) {
  EXPECT_EQ(UriEncode("a b+c/\xc3\xa4~*"), "a%20b%2Bc%2F%C3%A4~%2A");
  EXPECT_EQ(UriEncode("a b/c", true), "a%20b/c");
  EXPECT_EQ(CanonicalQuery({{"b", "1"}, {"a-", "2"}, {"a", "x y"}, {"B", ""}}),
            "B=&a=x%20y&a-=2&b=1");
}

TEST(SigV4, HeadersAreTrimmedAndJoined) {
  Request request{.method = "GET",
                  .path = "/",
                  .query = {},
                  .headers = {{"X-B", "  two   words "}, {"x-a", "1"}, {"X-A", "2"}},
                  .payload_hash = "h"};
  EXPECT_EQ(CanonicalRequest(request), "GET\n/\n\nx-a:1,2\nx-b:two words\n\nx-a;x-b\nh");
}

TEST(SigV4, FormatsTimesInUtc) {
  EXPECT_EQ(FormatTime(1369353600), "20130524T000000Z");
  EXPECT_THAT(FormatTime(0), EndsWith("T000000Z"));
}

}  // namespace
}  // namespace atl::blob::sigv4
