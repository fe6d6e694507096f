// SPDX-License-Identifier: Apache-2.0
// TLS client connections over OpenSSL, and connecting by host name (declared in client.h).
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "http/client.h"

namespace atl::http {
namespace {

namespace asio = boost::asio;

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

using ContextPtr = std::unique_ptr<SSL_CTX, SslDeleter>;

ContextPtr MakeContext(const std::string& ca_file) {
  ContextPtr made(SSL_CTX_new(TLS_client_method()));
  if (made == nullptr) return made;
  int loaded = ca_file.empty() ? SSL_CTX_set_default_verify_paths(made.get())
                               : SSL_CTX_load_verify_file(made.get(), ca_file.c_str());
  if (loaded != 1) return {};
  SSL_CTX_set_min_proto_version(made.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(made.get(), SSL_VERIFY_PEER, nullptr);
  return made;
}

// One context for all connections with the same roots, which are read once.
Result<SSL_CTX*> Context(const std::string& ca_file) {
  static std::mutex mutex;
  static std::map<std::string, ContextPtr> contexts;
  std::scoped_lock lock(mutex);
  ContextPtr& context = contexts[ca_file];
  if (context == nullptr) context = MakeContext(ca_file);
  if (context != nullptr) return context.get();
  ERR_clear_error();
  if (!ca_file.empty()) {
    return Fail(Code::kInvalidArgument,
                fmt::format("TLS: {} has no certificates that can be read", ca_file));
  }
  return Fail(Code::kInternal, "TLS: the system's root certificates cannot be read");
}

std::string LastSslError() {
  unsigned long code = ERR_get_error();
  if (code == 0) return "connection closed";
  char text[256];
  ERR_error_string_n(code, text, sizeof(text));
  return text;
}

class TlsTransport : public Transport {
 public:
  TlsTransport(async::Stream stream, SSL* ssl) : stream_(std::move(stream)), ssl_(ssl) {
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in_, out_);
    SSL_set_connect_state(ssl);
  }

  async::Task<Result<void>> Handshake(std::string_view host) {
    while (true) {
      ERR_clear_error();
      int rc = SSL_do_handshake(ssl_.get());
      CO_TRY(co_await Flush());
      if (rc == 1) co_return Result<void>();
      if (SSL_get_error(ssl_.get(), rc) != SSL_ERROR_WANT_READ) {
        if (long verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK) {
          co_return Fail(Code::kBadGateway,
                         fmt::format("TLS handshake with {}: {}", host,
                                     X509_verify_cert_error_string(verdict)),
                         "TLS_UNTRUSTED");
        }
        co_return Fail(Code::kBadGateway,
                       fmt::format("TLS handshake with {}: {}", host, LastSslError()));
      }
      CO_ASSIGN(size_t n, co_await Fill());
      if (n == 0) {
        co_return Fail(Code::kBadGateway, fmt::format("TLS handshake with {}: closed", host));
      }
    }
  }

  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override {
    while (true) {
      ERR_clear_error();
      int n = SSL_read(ssl_.get(), buffer.data(),
                       static_cast<int>(std::min<size_t>(buffer.size(), 1U << 20U)));
      if (n > 0) co_return static_cast<size_t>(n);
      int error = SSL_get_error(ssl_.get(), n);
      if (error == SSL_ERROR_ZERO_RETURN) co_return 0UL;
      if (error != SSL_ERROR_WANT_READ) {
        co_return Fail(Code::kBadGateway, fmt::format("TLS read: {}", LastSslError()));
      }
      CO_ASSIGN(size_t filled, co_await Fill());
      // Without TLS's own end the stream may have been cut by somebody on the way.
      if (filled == 0) co_return Fail(Code::kBadGateway, "TLS read: cut off");
    }
  }

  async::Task<Result<void>> Write(std::string_view data) override {
    while (!data.empty()) {
      ERR_clear_error();
      int n = SSL_write(ssl_.get(), data.data(),
                        static_cast<int>(std::min<size_t>(data.size(), 64UL << 10U)));
      if (n <= 0) co_return Fail(Code::kBadGateway, fmt::format("TLS write: {}", LastSslError()));
      data.remove_prefix(static_cast<size_t>(n));
      CO_TRY(co_await Flush());
    }
    co_return Result<void>();
  }

  void Close() override { stream_.Close(); }

 private:
  async::Task<Result<void>> Flush() {
    // Reading may want to write (a key update) while a write is under way; one flushes for both.
    if (flushing_) co_return Result<void>();
    flushing_ = true;
    std::vector<char> piece(32UL * 1024);
    while (true) {
      int n = BIO_read(out_, piece.data(), static_cast<int>(piece.size()));
      if (n <= 0) break;
      std::string_view bytes(piece.data(), static_cast<size_t>(n));
      Result<void> written = co_await stream_.Write(bytes);
      if (!written) {
        flushing_ = false;
        co_return written;
      }
    }
    flushing_ = false;
    co_return Result<void>();
  }

  async::Task<Result<size_t>> Fill() {
    std::vector<char> piece(32UL * 1024);
    CO_ASSIGN(size_t n, co_await stream_.ReadSome(piece));
    if (n > 0) BIO_write(in_, piece.data(), static_cast<int>(n));
    co_return n;
  }

  async::Stream stream_;
  std::unique_ptr<SSL, SslDeleter> ssl_;
  BIO* in_ = nullptr;   // owned by ssl_
  BIO* out_ = nullptr;  // owned by ssl_
  bool flushing_ = false;
};

using Resolved = std::vector<async::Endpoint>;

async::Task<> Resolve(std::string host, uint16_t port, Result<Resolved>& result) {
  async::Executor executor = co_await async::ThisExecutor();
  asio::ip::tcp::resolver resolver(executor);
  auto [error, results] = co_await resolver.async_resolve(host, fmt::to_string(port),
                                                          asio::as_tuple(asio::use_awaitable));
  if (error) {
    result = Fail(Code::kBadGateway, fmt::format("look up {}: {}", host, error.message()));
    co_return;
  }
  Resolved endpoints;
  for (const auto& entry : results) {
    endpoints.emplace_back(entry.endpoint().address().to_string(), port);
  }
  result = std::move(endpoints);
}

async::Task<Result<async::Stream>> ConnectByName(std::string host, uint16_t port,
                                                 std::chrono::milliseconds timeout) {
  Result<Resolved> resolved =
      Fail(Code::kBadGateway, fmt::format("look up {}: no answer in time", host));
  (void)co_await async::WithTimeout(timeout, Resolve(host, port, resolved));
  if (!resolved) co_return std::unexpected(std::move(resolved).error());
  Error last{.code = Code::kBadGateway, .message = fmt::format("{} has no address", host)};
  for (const async::Endpoint& endpoint : *resolved) {
    Result<async::Stream> stream = co_await async::ConnectTcp(endpoint, timeout);
    if (stream) co_return stream;
    last = std::move(stream).error();
    last.code = Code::kBadGateway;
  }
  co_return std::unexpected(std::move(last));
}

async::Task<> HandshakeInto(TlsTransport& transport, std::string host, Result<void>& result) {
  Result<void> done = co_await transport.Handshake(host);
  result = std::move(done);
}

}  // namespace

async::Task<Result<std::unique_ptr<Transport>>> ConnectTls(std::string host, uint16_t port,
                                                           std::chrono::milliseconds timeout,
                                                           std::string ca_file) {
  CO_ASSIGN(SSL_CTX * context, Context(ca_file));
  CO_ASSIGN(async::Stream stream, co_await ConnectByName(host, port, timeout));
  SSL* ssl = SSL_new(context);
  if (ssl == nullptr) co_return Fail(Code::kInternal, "TLS: out of memory");
  auto transport = std::make_unique<TlsTransport>(std::move(stream), ssl);
  SSL_set_tlsext_host_name(ssl, host.c_str());
  if (SSL_set1_host(ssl, host.c_str()) != 1) {
    co_return Fail(Code::kInvalidArgument, fmt::format("TLS: {} is not a host name", host));
  }
  Result<void> done =
      Fail(Code::kBadGateway, fmt::format("TLS handshake with {}: no answer in time", host));
  (void)co_await async::WithTimeout(timeout, HandshakeInto(*transport, host, done));
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return std::unique_ptr<Transport>(std::move(transport));
}

async::Task<Result<std::unique_ptr<Transport>>> ConnectUrlHost(std::string host, uint16_t port,
                                                               bool tls,
                                                               std::chrono::milliseconds timeout,
                                                               std::string ca_file) {
  if (tls) {
    Result<std::unique_ptr<Transport>> transport =
        co_await ConnectTls(host, port, timeout, std::move(ca_file));
    co_return transport;
  }
  CO_ASSIGN(async::Stream stream, co_await ConnectByName(host, port, timeout));
  co_return PlainTransport(std::move(stream));
}

}  // namespace atl::http
