// SPDX-License-Identifier: Apache-2.0
#include "sandbox/buckets.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "sys/fd.h"

namespace atl::sandbox {
namespace {

BucketRequest Good() {
  return {.bucket = "some-bucket",
          .path = "/workspace/data",
          .endpoint = "https://s3.example.org:9000/",
          .region = {},
          .prefix = "/a/b c/",
          .access_key = "key",
          .secret_key = "a/secret+"};
}

TEST(BucketsTest, WhatIsLeftOutIsFilledIn) {
  Result<BucketRequest> settled = SettleBucket(Good(), {});
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->endpoint, "https://s3.example.org:9000");
  EXPECT_EQ(settled->region, "us-east-1");
  EXPECT_EQ(settled->prefix, "a/b c");
  BucketRequest amazons = Good();
  amazons.endpoint.clear();
  amazons.region = "eu-west-1";
  amazons.path = "data/";
  settled = SettleBucket(std::move(amazons), {});
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->endpoint, "https://s3.eu-west-1.amazonaws.com");
  EXPECT_EQ(settled->path, "/workspace/data");
}

void ExpectRefused(BucketRequest request, std::string_view reason) {
  Result<BucketRequest> settled = SettleBucket(request, {});
  ASSERT_FALSE(settled) << request.bucket << request.path << request.endpoint << request.prefix;
  EXPECT_EQ(ReasonOf(settled.error()), reason);
  EXPECT_EQ(settled.error().message.find("a/secret+"), std::string::npos);
}

// Each becomes an argument of a program, where commas and colons separate.
TEST(BucketsTest, NothingBecomesAnotherOptionOfTheClient) {
  for (const char* bucket : {"", "ab", "-o", "a,b", "a:b", "a/b", "a..b", "a b", "b\n"}) {
    BucketRequest request = Good();
    request.bucket = bucket;
    ExpectRefused(request, "INVALID_MOUNT_CONFIG");
  }
  for (const char* endpoint :
       {"ftp://h", "http://", "http://h/p", "http://h,ro", "http://u@h", "http://h?x", "h"}) {
    BucketRequest request = Good();
    request.endpoint = endpoint;
    ExpectRefused(request, "INVALID_MOUNT_CONFIG");
  }
  for (const char* prefix :
       {"a,b", "a:b", "../b", "a/../b", "a//b", "a/.", "a\\b", "a\nb", "a\"b"}) {
    BucketRequest request = Good();
    request.prefix = prefix;
    ExpectRefused(request, "INVALID_MOUNT_CONFIG");
  }
  for (const char* path : {"/", "//", "/proc", "/proc/1", "/sys/x", "/dev", "/.atoll/agent",
                           "/workspace", "/opt", "/a/../proc", "/a//b", "/a/."}) {
    BucketRequest request = Good();
    request.path = path;
    ExpectRefused(request, "INVALID_MOUNT_CONFIG");
  }
  BucketRequest keys = Good();
  keys.secret_key = "a:secret\nx:y";
  ExpectRefused(keys, "INVALID_MOUNT_CONFIG");
  keys.secret_key.clear();
  ExpectRefused(keys, "MISSING_CREDENTIALS");
}

TEST(BucketsTest, ASecretGoesNowhereElse) {
  BucketSecrets secrets{{"team",
                         {.endpoint = "https://store.example.org",
                          .access_key = "key",
                          .secret_key = "kept",
                          .bucket = "some-bucket"}}};
  BucketRequest request{.bucket = "some-bucket", .path = "/workspace/data", .secret = "team"};
  Result<BucketRequest> settled = SettleBucket(request, secrets);
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->secret_key, "kept");
  EXPECT_EQ(settled->endpoint, "https://store.example.org");
  BucketRequest elsewhere = request;
  elsewhere.endpoint = "https://thief.example.org";
  EXPECT_FALSE(SettleBucket(elsewhere, secrets));
  BucketRequest other = request;
  other.bucket = "other-bucket";
  EXPECT_FALSE(SettleBucket(other, secrets));
}

TEST(BucketsTest, AreKeptForRootAlone) {
  std::string dir = ::testing::TempDir() + "buckets-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  std::string file = dir + "/kept";
  EXPECT_TRUE(LoadBuckets(file)->empty());
  ASSERT_TRUE(StoreBuckets(file, {{.slot = 3, .request = Good()}}));
  struct stat info{};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  Result<std::vector<KeptBucket>> kept = LoadBuckets(file);
  ASSERT_TRUE(kept);
  ASSERT_EQ(kept->size(), 1U);
  EXPECT_EQ(kept->front().slot, 3);
  EXPECT_EQ(kept->front().request, Good());
  ASSERT_TRUE(StoreBuckets(file, {}));
  EXPECT_NE(::access(file.c_str(), F_OK), 0);
  ASSERT_TRUE(sys::RemoveTree(dir));
}

TEST(BucketsTest, OneBelowTheOtherOverlaps) {
  EXPECT_TRUE(PathsOverlap("/a/b", "/a"));
  EXPECT_TRUE(PathsOverlap("/a", "/a"));
  EXPECT_FALSE(PathsOverlap("/a", "/ab"));
}

}  // namespace
}  // namespace atl::sandbox
