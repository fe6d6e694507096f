// SPDX-License-Identifier: Apache-2.0
// Which certificates a store may have, against a TLS server of OpenSSL's.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "async/runtime.h"
#include "blob/s3.h"
#include "sys/fd.h"

namespace atl::blob {
namespace {

// Serves the files of a folder to GET by `openssl s_server`.
class TlsServer {
 public:
  TlsServer() {
    root_ = testing::TempDir() + "atoll-tls-XXXXXX";
    if (::mkdtemp(root_.data()) == nullptr) return;
    std::string make = fmt::format(
        "cd {} && mkdir bucket && printf hello > bucket/config && "
        "for n in one two; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout $n.key -out $n.pem -days 2 -subj /CN=$n -addext subjectAltName=IP:127.0.0.1 "
        "2> $n.log || exit 1; done",
        root_);
    if (::system(make.c_str()) != 0) return;
    Start();
  }
  ~TlsServer() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    EXPECT_TRUE(sys::RemoveTree(root_));
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  int port() const { return port_; }
  std::string file(const std::string& name) const { return root_ + "/" + name; }

 private:
  void Start() {
    sys::Pipe out = sys::MakePipe().value();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out.write.get(), 1);
      if (::chdir(root_.c_str()) != 0) ::_exit(1);
      ::execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "one.pem",
               "-key", "one.key", "-WWW", nullptr);
      ::_exit(1);
    }
    out.write.Reset();
    std::string text;
    char piece[256];
    while (!text.contains("ACCEPT ") || !text.ends_with('\n')) {
      ssize_t n = ::read(out.read.get(), piece, sizeof(piece));
      if (n <= 0) return;
      text.append(piece, static_cast<size_t>(n));
    }
    port_ = std::atoi(text.substr(text.rfind(':') + 1).c_str());
    drain_ = std::move(out.read);  // kept open: it goes on writing there
  }

  std::string root_;
  sys::Fd drain_;
  pid_t pid_ = -1;
  int port_ = 0;
};

TEST(S3Tls, TheCertificateMustBeTrusted) {
  TlsServer server;
  if (server.port() == 0) GTEST_SKIP() << "no openssl here";
  async::Runtime runtime(2, 1);
  std::jthread shard([&] { runtime.Run(); });
  S3Options options;
  options.bucket = "bucket";
  options.access_key = "a";
  options.secret_key = "not-a-word";
  options.endpoint = fmt::format("https://127.0.0.1:{}", server.port());
  auto get = [&] {
    std::shared_ptr<Store> store = OpenS3(runtime, options).value();
    Result<std::string> got = store->Get("config", 100);
    EXPECT_EQ(store->requests(), 1U);
    return got;
  };
  options.ca_file = server.file("one.pem");
  auto trusted = get();
  EXPECT_EQ(trusted.value_or("?"), "hello") << (trusted ? "" : trusted.error().message);
  for (const std::string& other : {std::string(), server.file("two.pem")}) {
    options.ca_file = other;
    EXPECT_EQ(get().error().reason, "STORE_TLS_UNTRUSTED");
  }
  options.ca_file = server.file("missing.pem");
  auto missing = get();
  EXPECT_EQ(missing.error().code, Code::kInvalidArgument);
  EXPECT_THAT(missing.error().message, testing::HasSubstr("missing.pem"));
  options.ca_file = server.file("one.pem");
  options.endpoint = fmt::format("https://localhost:{}", server.port());
  EXPECT_EQ(get().error().reason, "STORE_TLS_UNTRUSTED");
  runtime.Stop();
}

}  // namespace
}  // namespace atl::blob
