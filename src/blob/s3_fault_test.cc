// SPDX-License-Identifier: Apache-2.0
// What an S3 store does wrong, and what becomes of it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "blob/s3.h"
#include "blob/s3_stub.h"
#include "sys/fd.h"

namespace atl::blob {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

class S3FaultTest : public testing::Test {
 protected:
  std::shared_ptr<Store> Open(const S3Options& options) {
    return OpenS3(stub_.runtime(), options).value();
  }
  std::shared_ptr<Store> Open() { return Open(stub_.options()); }
  static milliseconds Since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
  }

  S3Stub stub_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

TEST_F(S3FaultTest, WhatFailsForAWhileIsTriedAgain) {
  auto store = Open();
  std::string data(100'000, 'x');
  for (Fault fault : {Fault::kBusy, Fault::kRefuseEarly, Fault::kReset, Fault::kLoseAnswer}) {
    stub_.Next({fault, fault});
    auto put = store->Put("config", data);
    ASSERT_TRUE(put) << static_cast<int>(fault) << put.error().message;
  }
  for (Fault fault : {Fault::kBusy, Fault::kStall, Fault::kReset, Fault::kLoseAnswer}) {
    stub_.Next({fault, fault});
    auto got = store->Get("config", data.size());
    ASSERT_TRUE(got) << static_cast<int>(fault) << got.error().message;
    EXPECT_TRUE(*got == data);
  }
}

TEST_F(S3FaultTest, WhatAlwaysFailsIsGivenUp) {
  auto store = Open();
  ASSERT_TRUE(store->Put("config", "1234"));
  for (Fault fault : {Fault::kBusy, Fault::kStall, Fault::kReset}) {
    stub_.Always(fault);
    uint64_t before = store->requests();
    auto got = store->Get("config", 100);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::kUnavailable);
    EXPECT_EQ(got.error().reason, "STORE_UNAVAILABLE");
    EXPECT_THAT(got.error().message, HasSubstr("get config in s3://bucket"));
    EXPECT_THAT(got.error().message, HasSubstr("attempt 3"));
    EXPECT_EQ(store->requests() - before, 3U);
  }
}

TEST_F(S3FaultTest, NobodyThereIsUnavailable) {
  S3Options options = stub_.options();
  options.endpoint = "http://127.0.0.1:1";
  options.attempts = 2;
  auto got = Open(options)->Get("config", 100);
  EXPECT_EQ(got.error().reason, "STORE_UNAVAILABLE");
}

TEST_F(S3FaultTest, ALargeBodyThatNobodyReadsTimesOut) {
  S3Options options = stub_.options();
  options.attempts = 1;
  auto store = Open(options);
  stub_.Next({Fault::kStallUpload});
  auto put = store->Put("config", std::string(32 << 20, 'x'));
  EXPECT_EQ(put.error().reason, "STORE_UNAVAILABLE");
  EXPECT_THAT(put.error().message, HasSubstr("nothing has come or gone for 300 ms"));
  EXPECT_LT(Since(begin_), milliseconds(5000));
}

TEST_F(S3FaultTest, ARefusalBeforeTheWholeBodyIsHeard) {
  S3Options options = stub_.options();
  options.attempts = 1;
  auto store = Open(options);
  stub_.Next({Fault::kRefuseEarly});
  auto put = store->Put("config", std::string(32 << 20, 'x'));
  EXPECT_EQ(put.error().reason, "STORE_UNAVAILABLE");
}

TEST_F(S3FaultTest, TheTotalDeadlineEndsWhatNeverStandsStill) {
  S3Options options = stub_.options();
  options.total_limit = milliseconds(700);
  auto store = Open(options);
  ASSERT_TRUE(store->Put("config", std::string(1000, 'x')));
  stub_.Always(Fault::kTrickle);
  begin_ = std::chrono::steady_clock::now();
  auto got = store->Get("config", 1000);
  EXPECT_EQ(got.error().reason, "STORE_UNAVAILABLE");
  EXPECT_GE(Since(begin_), milliseconds(600));
  EXPECT_LT(Since(begin_), milliseconds(3000));
}

TEST_F(S3FaultTest, RetryAfterIsRespected) {
  auto store = Open();
  stub_.Next({Fault::kBusyWithTime});
  ASSERT_TRUE(store->Put("config", "x"));
  EXPECT_GE(Since(begin_), milliseconds(1000));
  // Nothing is waited for that comes too late.
  S3Options options = stub_.options();
  options.total_limit = milliseconds(500);
  stub_.Next({Fault::kBusyWithTime});
  begin_ = std::chrono::steady_clock::now();
  EXPECT_EQ(Open(options)->Put("config", "x").error().reason, "STORE_UNAVAILABLE");
  EXPECT_LT(Since(begin_), milliseconds(500));
}

TEST_F(S3FaultTest, AKeptConnectionThatHasDiedCostsNoAttempt) {
  S3Options options = stub_.options();
  options.attempts = 1;
  auto store = Open(options);
  ASSERT_TRUE(store->Put("config", "x"));
  std::this_thread::sleep_for(milliseconds(900));  // the stub closes idle ones before
  auto put = store->Put("config", "y");
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ(stub_.objects().at("config"), "y");
  EXPECT_EQ(stub_.connections(), 2U);
}

TEST_F(S3FaultTest, ErrorsThatStayAreNotTriedAgain) {
  struct Case {
    Fault fault;
    Code code;
    std::string reason;
  };
  auto store = Open();
  for (const Case& it :
       std::vector<Case>{{Fault::kFull, Code::kResourceExhausted, "NO_SPACE"},
                         {Fault::kSkew, Code::kFailedPrecondition, "STORE_CLOCK_SKEW"},
                         {Fault::kExpired, Code::kPermissionDenied, "STORE_ACCESS_DENIED"},
                         {Fault::kQuotesKey, Code::kBadGateway, "STORE_REFUSED"}}) {
    stub_.Always(it.fault);
    uint64_t before = store->requests();
    auto put = store->Put("config", "x");
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code, it.code);
    EXPECT_EQ(put.error().reason, it.reason);
    EXPECT_THAT(put.error().message, Not(HasSubstr(stub_.options().secret_key)));
    EXPECT_EQ(store->requests() - before, 1U);
  }
  stub_.Always(Fault::kSkewDate);
  EXPECT_EQ(store->Size("config").error().reason, "STORE_CLOCK_SKEW");
  // Somebody else's 404 does not say that there is no such blob.
  stub_.Always(Fault::kHtml404);
  EXPECT_EQ(store->Get("config", 10).error().reason, "STORE_REFUSED");
}

TEST_F(S3FaultTest, OtherBytesThanAskedForAreNotTaken) {
  auto store = Open();
  ASSERT_TRUE(store->Put("config", "0123456789"));
  for (Fault fault : {Fault::kWrongRange, Fault::kNoRange}) {
    stub_.Next({fault});
    EXPECT_EQ(store->GetRange("config", 0, 10).value_or("?"), "0123456789");
    stub_.Always(fault);
    auto got = store->GetRange("config", 2, 3);
    EXPECT_EQ(got.error().code, Code::kBadGateway);
    EXPECT_EQ(got.error().reason, "STORE_BAD_ANSWER");
    stub_.Always(Fault::kNone);
  }
}

TEST_F(S3FaultTest, AListThatIsCutOffIsNotTaken) {
  auto store = Open();
  for (int i = 0; i < 10; ++i) stub_.SetObject(fmt::format("data/{}", i), "x");
  stub_.Next({Fault::kTruncated});
  auto entries = store->List({});
  ASSERT_TRUE(entries) << entries.error().message;
  EXPECT_EQ(entries->size(), 10U);
  stub_.Always(Fault::kTruncated);
  EXPECT_EQ(store->List({}).error().reason, "STORE_BAD_ANSWER");
}

TEST_F(S3FaultTest, AnUploadThatFailsIsAborted) {
  S3Options options = stub_.options();
  options.part_bytes = 1000;
  options.attempts = 2;
  auto store = Open(options);
  // begin, part 1, part 2 fails
  for (Fault fault : {Fault::kFull, Fault::kBusy, Fault::kOtherTag}) {
    auto upload = store->PutStream("a", "").value();
    std::vector<Fault> faults{Fault::kNone, Fault::kNone, fault};
    if (fault != Fault::kFull) faults.push_back(fault);  // it is tried again
    stub_.Next(faults);
    Result<void> written;
    for (int i = 0; i < 10 && written; ++i) written = upload->Write(std::string(700, 'x'));
    EXPECT_FALSE(written);
    EXPECT_EQ(stub_.open_uploads(), 0U);
    EXPECT_FALSE(upload->Finish());
  }
  EXPECT_TRUE(stub_.objects().empty());
}

TEST_F(S3FaultTest, TheEndOfAnUploadIsCertain) {
  S3Options options = stub_.options();
  options.part_bytes = 1000;
  auto store = Open(options);
  auto put = [&](Fault fault) {
    auto upload = store->PutStream("a", "").value();
    EXPECT_TRUE(upload->Write(std::string(1500, 'x')));
    // begin has been sent; both parts, then the end
    std::this_thread::sleep_for(milliseconds(100));
    stub_.Next({Fault::kNone, fault});
    return upload->Finish();
  };
  ASSERT_TRUE(put(Fault::kError200));
  // It is done, but the answer is lost: the second try finds no upload.
  auto lost = put(Fault::kLoseAnswer);
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_EQ(stub_.objects().at("a").size(), 1500U);
  EXPECT_EQ(stub_.open_uploads(), 0U);
}

TEST_F(S3FaultTest, StopsSoonWhateverItWaitsFor) {
  S3Options options = stub_.options();
  options.connections = 1;
  options.idle_limit = options.total_limit = milliseconds(20'000);
  auto store = Open(options);
  ASSERT_TRUE(store->Put("config", "1234"));
  auto stopped = [&](Fault fault) {
    stub_.Always(fault);
    std::stop_source source;
    std::vector<Result<std::string>> results(2);  // the second waits for the first's connection
    {
      std::vector<std::jthread> threads;
      for (auto& result : results) {
        threads.emplace_back([&] { result = store->Get("config", 100, source.get_token()); });
      }
      std::this_thread::sleep_for(milliseconds(300));
      begin_ = std::chrono::steady_clock::now();
      source.request_stop();
    }
    EXPECT_LT(Since(begin_), milliseconds(500));
    for (auto& result : results) EXPECT_EQ(result.error().code, Code::kCancelled);
  };
  stopped(Fault::kStall);
  stopped(Fault::kStallUpload);
  stopped(Fault::kBusyWithTime);
  stub_.Always(Fault::kNone);
  EXPECT_EQ(store->Get("config", 100).value(), "1234");
}

// Answers every HEAD as Swift does: 404, and a moment later the last chunk of a body.
class ChunkAfterHead {
 public:
  ChunkAfterHead() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), plain, size) != 0 || ::listen(listener_.get(), 8) != 0 ||
        ::getsockname(listener_.get(), plain, &size) != 0) {
      return;
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { Serve(); });
  }
  ~ChunkAfterHead() { ::shutdown(listener_.get(), SHUT_RDWR); }
  ChunkAfterHead(const ChunkAfterHead&) = delete;
  ChunkAfterHead& operator=(const ChunkAfterHead&) = delete;

  uint16_t port() const { return port_; }

 private:
  void Serve() const {
    while (true) {
      sys::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.get() < 0) return;
      std::string text;
      char piece[4096];
      ssize_t n = 0;
      while ((n = ::recv(connection.get(), piece, sizeof(piece), 0)) > 0) {
        text.append(piece, static_cast<size_t>(n));
        if (!text.ends_with("\r\n\r\n")) continue;
        text.clear();
        Send(connection.get(), "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n");
        std::this_thread::sleep_for(milliseconds(20));
        Send(connection.get(), "0\r\n\r\n");
      }
    }
  }
  static void Send(int fd, std::string_view text) {
    (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  sys::Fd listener_;
  uint16_t port_ = 0;
  std::jthread thread_;
};

TEST_F(S3FaultTest, WhatComesBehindAnAnswerIsNotTheNextOne) {
  ChunkAfterHead server;
  ASSERT_NE(server.port(), 0);
  S3Options options = stub_.options();
  options.endpoint = fmt::format("http://127.0.0.1:{}", server.port());
  options.connections = 1;
  auto store = Open(options);
  for (int i = 0; i < 3; ++i) {
    auto size = store->Size("config");
    ASSERT_TRUE(size) << size.error().message;
    EXPECT_FALSE(*size);
    std::this_thread::sleep_for(milliseconds(40));
  }
  EXPECT_EQ(store->requests(), 3);
}

}  // namespace
}  // namespace atl::blob
