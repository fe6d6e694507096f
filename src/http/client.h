// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 request on a connected stream, to a plain or a TLS server.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "async/stream.h"
#include "async/task.h"
#include "http/body.h"
#include "http/message.h"

namespace atl::http {

// A byte stream to a server: a plain socket or TLS over one.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual async::Task<Result<size_t>> ReadSome(std::span<char> buffer) = 0;
  virtual async::Task<Result<void>> Write(std::string_view data) = 0;
  virtual void Close() = 0;
  // The socket itself where there is no TLS on it: for tunnels. Otherwise null.
  virtual async::Stream* stream() { return nullptr; }
};
std::unique_ptr<Transport> PlainTransport(async::Stream stream);
// TLS with the system's roots, or with those of the PEM file `ca_file` alone; verifies that the
// certificate is `host`'s. One that is not trusted fails with reason TLS_UNTRUSTED.
async::Task<Result<std::unique_ptr<Transport>>> ConnectTls(std::string host, uint16_t port,
                                                           std::chrono::milliseconds timeout,
                                                           std::string ca_file = {});
// Resolves `host` without blocking the shard and connects, with TLS or without.
async::Task<Result<std::unique_ptr<Transport>>> ConnectUrlHost(std::string host, uint16_t port,
                                                               bool tls,
                                                               std::chrono::milliseconds timeout,
                                                               std::string ca_file = {});

class ClientRequest {
 public:
  explicit ClientRequest(Transport& transport) : transport_(transport) {}

  // Writes the head. The caller has set Host; framing fields are generated from head.framing and
  // head.content_length and replace whatever stands in head.headers.
  async::Task<Result<void>> SendHead(RequestHead head);
  // A piece of the body, framed as SendHead said.
  async::Task<Result<void>> SendBody(std::string_view data);
  async::Task<Result<void>> SendEnd();

  // The next head: informational ones (1xx but 101) are returned too; call again for the final one.
  async::Task<Result<ResponseHead>> ReadHead();
  // The next piece of the body; 0 at its end. A connection that closes early is kBadGateway.
  async::Task<Result<size_t>> ReadSome(std::span<char> buffer);
  // What of the body has come with the head, where its length is known; 0 otherwise.
  size_t TakeBuffered(std::span<char> buffer) { return body_.TakeBuffered(buffer_, buffer); }
  // The whole body, at most `limit` bytes.
  async::Task<Result<std::string>> ReadBody(size_t limit);

  // Whether ReadSome has something without waiting.
  bool HasBuffered() const { return !buffer_.empty() || body_.at_end(); }
  // The body has been read to its end.
  bool at_end() const { return body_.at_end(); }
  // Has the server said anything?
  bool heard() const { return heard_; }
  // The response is whole and the server keeps the connection, on which nothing else has come.
  bool CanBeReused() const { return keep_alive_ && body_.at_end() && buffer_.empty(); }
  // Bytes read behind a 101 head.
  std::string TakeEarly() { return buffer_.Take(); }

 private:
  Transport& transport_;
  std::string method_;
  Framing send_framing_ = Framing::kNone;
  ReadBuffer buffer_;
  BodyReader body_;
  bool heard_ = false;
  bool keep_alive_ = false;
};

struct Response {
  ResponseHead head;
  std::string body;
};
// A whole request and its whole response (bodies at most `limit` bytes) on a connection of its own.
async::Task<Result<Response>> Fetch(Transport& transport, RequestHead head, std::string body,
                                    size_t limit);

}  // namespace atl::http
