// SPDX-License-Identifier: Apache-2.0
#include "blob/s3.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "blob/files.h"
#include "blob/s3_stub.h"
#include "http/client.h"
#include "sys/fd.h"

namespace atl::blob {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class S3Test : public testing::Test {
 protected:
  std::shared_ptr<Store> Open(const S3Options& options) {
    auto opened = OpenS3(stub_.runtime(), options);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? *opened : nullptr;
  }
  std::shared_ptr<Store> Open() { return Open(stub_.options()); }

  S3Stub stub_;
};

TEST_F(S3Test, ABlobComesBackAsItWasPut) {
  auto store = Open();
  std::string large(3'000'001, 'x');
  std::vector<std::string_view> pieces{"one ", "", "two ", large, "end"};
  auto put = store->Put("data/ab/abcd", pieces);
  ASSERT_TRUE(put) << put.error().message;
  auto got = store->Get("data/ab/abcd", 1ULL << 30U);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == "one two " + large + "end");
  EXPECT_EQ(store->Size("data/ab/abcd").value(), std::optional<uint64_t>(got->size()));
  EXPECT_EQ(store->GetRange("data/ab/abcd", 4, 5).value(), "two x");
  ASSERT_TRUE(store->Put("data/ab/abcd", "replaced"));
  EXPECT_EQ(store->Get("data/ab/abcd", 8).value(), "replaced");
  ASSERT_TRUE(store->Put("empty", ""));
  EXPECT_EQ(store->Get("empty", 0).value(), "");
  ASSERT_TRUE(store->Remove("empty"));
  ASSERT_TRUE(store->Remove("empty"));
  EXPECT_EQ(store->Size("empty").value(), std::nullopt);
  EXPECT_EQ(store->requests(), 11U);
  EXPECT_EQ(stub_.connections(), 1U);
  EXPECT_TRUE(store->remote());
  EXPECT_EQ(store->name(), "s3://bucket");
}

TEST_F(S3Test, OddPrefixesArePartOfKeysAndOfSignatures) {
  S3Options options = stub_.options();
  options.prefix = "a b+c/\xc3\xa4&<%41>?=~*";
  auto store = Open(options);
  ASSERT_TRUE(store->Put("config", "c"));
  EXPECT_EQ(stub_.objects().count(options.prefix + "/config"), 1U);
  EXPECT_EQ(store->Get("config", 10).value(), "c");
  stub_.SetObject(options.prefix + "2/other", "x");
  auto entries = store->List({});
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().key, "config");
  EXPECT_EQ(entries->front().modified_ms, 1577934245678);
}

TEST_F(S3Test, WhatIsMissingOrTooShortOrTooLongSaysSo) {
  auto store = Open();
  EXPECT_EQ(store->Get("nothing", 10).error().reason, "BLOB_NOT_FOUND");
  EXPECT_EQ(store->GetRange("nothing", 0, 10).error().reason, "BLOB_NOT_FOUND");
  EXPECT_EQ(store->GetRange("nothing", 0, 0).error().reason, "BLOB_NOT_FOUND");
  EXPECT_EQ(store->Size("nothing").value(), std::nullopt);
  ASSERT_TRUE(store->Put("config", "12345"));
  EXPECT_EQ(store->Get("config", 4).error().code, Code::kTooLarge);
  EXPECT_EQ(store->GetRange("config", 2, 4).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store->GetRange("config", 5, 1).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store->GetRange("config", 6, 0).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store->GetRange("config", 2, UINT64_MAX).error().reason, "BLOB_TRUNCATED");
  EXPECT_EQ(store->GetRange("config", 5, 0).value(), "");
  EXPECT_EQ(store->Get("../config", 10).error().code, Code::kInvalidArgument);
  EXPECT_EQ(store->Put("a//b", "x").error().code, Code::kInvalidArgument);
}

TEST_F(S3Test, ListsPageByPage) {
  stub_.page_size = 100;
  for (int i = 0; i < 1234; ++i) stub_.SetObject(fmt::format("p/data/{:04}", i), "12");
  stub_.SetObject("p/data/not a key", "x");
  S3Options options = stub_.options();
  options.prefix = "p";
  auto store = Open(options);
  auto entries = store->List({.prefix = "data/"});
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 1234U);
  EXPECT_EQ(entries->front().key, "data/0000");
  EXPECT_EQ(entries->back().key, "data/1233");
  EXPECT_EQ(entries->back().size, 2U);
  EXPECT_EQ(store->requests(), 13U);
  auto rest = store->List({.prefix = "data/", .start_after = "data/1230"});
  ASSERT_EQ(rest->size(), 3U);
  EXPECT_EQ(rest->front().key, "data/1231");
  EXPECT_EQ(store->requests(), 14U);
  stub_.endless = true;
  EXPECT_EQ(store->List({}).error().reason, "STORE_BAD_ANSWER");
}

TEST_F(S3Test, WrongCredentialsAreDeniedAtOnceAndNotShown) {
  S3Options options = stub_.options();
  options.secret_key = "wrong-secret";
  auto wrong_secret = Open(options);
  for (const Error& error :
       {wrong_secret->Put("config", "x").error(), wrong_secret->Get("config", 10).error(),
        wrong_secret->Size("config").error(), wrong_secret->List({}).error()}) {
    EXPECT_EQ(error.code, Code::kPermissionDenied);
    EXPECT_EQ(error.reason, "STORE_ACCESS_DENIED");
    EXPECT_THAT(error.message, Not(HasSubstr("wrong-secret")));
    EXPECT_THAT(error.message, HasSubstr("s3://bucket"));
  }
  EXPECT_EQ(wrong_secret->requests(), 4U);
  options = stub_.options();
  options.access_key = "NOBODY";
  EXPECT_EQ(Open(options)->Get("config", 10).error().reason, "STORE_ACCESS_DENIED");
  options.access_key = "";
  EXPECT_EQ(OpenS3(stub_.runtime(), options).error().reason, "STORE_ACCESS_DENIED");
}

TEST_F(S3Test, AMissingBucketIsNotAMissingBlob) {
  S3Options options = stub_.options();
  options.bucket = "another";
  auto store = Open(options);
  EXPECT_EQ(store->Get("config", 10).error().reason, "STORE_BUCKET_NOT_FOUND");
  EXPECT_EQ(store->List({}).error().reason, "STORE_BUCKET_NOT_FOUND");
}

TEST_F(S3Test, OptionsThatCannotBeAreRefused) {
  auto refused = [&](auto change) {
    S3Options options = stub_.options();
    change(options);
    auto opened = OpenS3(stub_.runtime(), options);
    return !opened && opened.error().code == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](S3Options& o) { o.bucket = "a/b"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.bucket = ""; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.prefix = "/a"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.prefix = "a/../b"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.prefix = "a\nb"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.endpoint = "ftp://host"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.endpoint = "http://host:0"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.endpoint = "http://user@host"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.endpoint = "http://host/path"; }));
  EXPECT_TRUE(refused([](S3Options& o) { o.access_key = "a\r\nX: y"; }));
}

TEST_F(S3Test, TheRegionIsLearntWhenItIsAuto) {
  S3Options options = stub_.options();
  options.region = "auto";
  auto store = Open(options);
  ASSERT_TRUE(store->Put("config", "x"));
  ASSERT_TRUE(store->Put("config", "y"));
  EXPECT_EQ(store->requests(), 3U);
  options.region = "other-1";
  EXPECT_FALSE(Open(options)->Put("config", "x"));
}

TEST_F(S3Test, AddressesFollowTheStyle) {
  S3Options options = stub_.options();
  options.prefix = "p";
  auto url = [&] { return Open(options)->Presign("k", seconds(60)).value(); };
  options.endpoint = "";
  options.region = "eu-west-1";
  EXPECT_THAT(url(), StartsWith("https://bucket.s3.eu-west-1.amazonaws.com/p/k?X-Amz-"));
  options.bucket = "buck.et";
  EXPECT_THAT(url(), StartsWith("https://s3.eu-west-1.amazonaws.com/buck.et/p/k?"));
  options.bucket = "bucket";
  options.style = S3Options::Style::kPath;
  EXPECT_THAT(url(), StartsWith("https://s3.eu-west-1.amazonaws.com/bucket/p/k?"));
  options.region = "auto";
  EXPECT_THAT(url(), StartsWith("https://s3.us-east-1.amazonaws.com/bucket/p/k?"));
  options.style = S3Options::Style::kAuto;
  options.endpoint = "https://account.r2.cloudflarestorage.com/";
  EXPECT_THAT(url(), StartsWith("https://account.r2.cloudflarestorage.com/bucket/p/k?"));
  options.style = S3Options::Style::kVirtualHost;
  options.endpoint = "http://store.test:9000";
  EXPECT_THAT(url(), StartsWith("http://bucket.store.test:9000/p/k?"));
  options.style = S3Options::Style::kPath;
  options.endpoint = "http://[::1]:9000";
  EXPECT_THAT(url(), StartsWith("http://[::1]:9000/bucket/p/k?"));
}

async::Task<> FetchInto(uint16_t port, std::string target, Result<http::Response>& result) {
  std::string host = "127.0.0.1";
  auto transport = co_await http::ConnectUrlHost(host, port, false, seconds(2));
  http::RequestHead head;
  head.method = "GET";
  head.target = std::move(target);
  head.headers.Set("Host", fmt::format("127.0.0.1:{}", port));
  http::Transport& connection = **transport;
  result = co_await http::Fetch(connection, std::move(head), std::string(), 1000);
}

TEST_F(S3Test, APresignedUrlGivesTheBlobToWhoeverHasIt) {
  auto store = Open();
  ASSERT_TRUE(store->Put("archives/a.tar.zst", "archive"));
  auto url = store->Presign("archives/a.tar.zst", seconds(60));
  ASSERT_TRUE(url);
  std::string base = stub_.options().endpoint;
  ASSERT_THAT(*url, StartsWith(base + "/bucket/archives/a.tar.zst?"));
  auto port = static_cast<uint16_t>(std::stoi(base.substr(base.rfind(':') + 1)));
  Result<http::Response> response;
  async::RunToEnd(FetchInto(port, url->substr(base.size()), response));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->head.status, 200);
  EXPECT_EQ(response->body, "archive");
  std::string forged = url->substr(base.size());
  forged.replace(forged.find("archives"), 8, "Archives");
  async::RunToEnd(FetchInto(port, forged, response));
  EXPECT_EQ(response->head.status, 403);
  EXPECT_FALSE(store->Presign("a", seconds(0)));
  EXPECT_FALSE(store->Presign("a", std::chrono::hours(24 * 8)));
}

TEST_F(S3Test, WhetherPutsCanBeConditionalIsFoundOut) {
  auto store = Open();
  EXPECT_TRUE(ProbeConditionalPut(*store).value());
  stub_.conditional = S3Stub::Conditional::kIgnored;
  EXPECT_FALSE(ProbeConditionalPut(*store).value());
  stub_.conditional = S3Stub::Conditional::kNotImplemented;
  EXPECT_FALSE(ProbeConditionalPut(*store).value());
  EXPECT_TRUE(stub_.objects().empty());
  stub_.Always(Fault::kExpired);
  EXPECT_EQ(ProbeConditionalPut(*store).error().reason, "STORE_ACCESS_DENIED");
  std::string path = testing::TempDir() + fmt::format("atoll-s3-{}", ::getpid());
  EXPECT_FALSE(ProbeConditionalPut(**OpenFiles(path)));
  EXPECT_TRUE(sys::RemoveTree(path));
}

TEST_F(S3Test, ManyThreadsShareAFewConnections) {
  S3Options options = stub_.options();
  options.connections = 4;
  auto store = Open(options);
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (int who = 0; who < 16; ++who) {
      threads.emplace_back([&, who] {
        for (int i = 0; i < 20; ++i) {
          std::string key = fmt::format("data/{}/{}", who, i);
          std::string data(static_cast<size_t>(1000 * who + i), static_cast<char>('a' + who));
          if (store->Put(key, data) && store->Get(key, 1 << 20).value_or("") == data) ++good;
        }
      });
    }
  }
  EXPECT_EQ(good, 16 * 20);
  EXPECT_EQ(store->requests(), 2U * 16 * 20);
  EXPECT_LE(stub_.connections(), 4U);
}

TEST_F(S3Test, AShortStreamIsOnePut) {
  S3Options options = stub_.options();
  options.part_bytes = 1000;
  auto store = Open(options);
  auto upload = store->PutStream("a", "application/zstd");
  ASSERT_TRUE((*upload)->Write(std::string(600, 'x')));
  ASSERT_TRUE((*upload)->Write(std::string(400, 'y')));
  ASSERT_TRUE((*upload)->Finish());
  EXPECT_FALSE((*upload)->Write("more"));
  auto seen = stub_.TakeSeen();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].method, "PUT");
  EXPECT_EQ(seen[0].content_type, "application/zstd");
  EXPECT_EQ(stub_.objects().at("a"), std::string(600, 'x') + std::string(400, 'y'));
}

TEST_F(S3Test, ALongStreamGoesInParts) {
  S3Options options = stub_.options();
  options.part_bytes = 100'000;
  auto store = Open(options);
  std::string all;
  for (int i = 0; i < 50'001; ++i) all += fmt::format("{},", i);
  auto upload = store->PutStream("archives/a", "application/zstd");
  for (size_t at = 0; at < all.size(); at += 7777) {
    ASSERT_TRUE((*upload)->Write(std::string_view(all).substr(at, 7777)));
  }
  EXPECT_TRUE(stub_.objects().empty());
  auto done = (*upload)->Finish();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(stub_.objects().at("archives/a") == all);
  EXPECT_EQ(stub_.open_uploads(), 0U);
  EXPECT_EQ(stub_.TakeSeen().front().content_type, "application/zstd");
}

TEST_F(S3Test, AStreamThatIsDroppedIsAborted) {
  S3Options options = stub_.options();
  options.part_bytes = 1000;
  std::unique_ptr<StreamUpload> upload = Open(options)->PutStream("a", "").value();
  ASSERT_TRUE(upload->Write(std::string(2500, 'x')));
  EXPECT_EQ(stub_.open_uploads(), 1U);
  upload.reset();
  EXPECT_EQ(stub_.open_uploads(), 0U);
  EXPECT_TRUE(stub_.objects().empty());
}

}  // namespace
}  // namespace atl::blob
