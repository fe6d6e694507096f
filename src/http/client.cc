// SPDX-License-Identifier: Apache-2.0
#include "http/client.h"

#include <fmt/format.h>

#include <vector>

#include "http/framing.h"
#include "http/scratch.h"

namespace atl::http {
namespace {

class PlainTransportImpl : public Transport {
 public:
  explicit PlainTransportImpl(async::Stream stream) : stream_(std::move(stream)) {}
  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override {
    return stream_.ReadSome(buffer);
  }
  async::Task<Result<void>> Write(std::string_view data) override { return stream_.Write(data); }
  void Close() override { stream_.Close(); }
  async::Stream* stream() override { return &stream_; }

 private:
  async::Stream stream_;
};

Error AsUpstream(Error error) {
  if (error.code == Code::kCancelled) return error;
  error.code = Code::kBadGateway;
  if (error.reason.empty()) error.reason = "BAD_GATEWAY";
  return error;
}

}  // namespace

std::unique_ptr<Transport> PlainTransport(async::Stream stream) {
  return std::make_unique<PlainTransportImpl>(std::move(stream));
}

async::Task<Result<void>> ClientRequest::SendHead(RequestHead head) {
  method_ = head.method;
  send_framing_ = head.framing;
  head.headers.Remove("Content-Length");
  head.headers.Remove("Transfer-Encoding");
  if (head.framing == Framing::kChunked) {
    head.headers.Add("Transfer-Encoding", "chunked");
  } else if (head.framing == Framing::kLength || method_ == "POST" || method_ == "PUT" ||
             method_ == "PATCH") {
    head.headers.Add("Content-Length", fmt::to_string(head.content_length));
  }
  std::string text = Serialize(head);
  Result<void> written = co_await transport_.Write(text);
  co_return written;
}

async::Task<Result<void>> ClientRequest::SendBody(std::string_view data) {
  if (data.empty()) co_return Result<void>();
  if (send_framing_ != Framing::kChunked) {
    Result<void> written = co_await transport_.Write(data);
    co_return written;
  }
  std::string chunk = fmt::format("{:x}\r\n", data.size());
  chunk += data;
  chunk += "\r\n";
  Result<void> written = co_await transport_.Write(chunk);
  co_return written;
}

async::Task<Result<void>> ClientRequest::SendEnd() {
  if (send_framing_ != Framing::kChunked) co_return Result<void>();
  Result<void> written = co_await transport_.Write("0\r\n\r\n");
  co_return written;
}

async::Task<Result<ResponseHead>> ClientRequest::ReadHead() {
  Scratch piece;
  // It has not answered yet, as a rule: waiting first saves a vain attempt.
  async::Stream* stream = buffer_.empty() ? transport_.stream() : nullptr;
  if (stream != nullptr) {
    (void)co_await stream->WaitReadable();  // what is wrong with it shows when it is read
  }
  size_t end = FindHeadEnd(buffer_.view());
  while (end == 0) {
    if (buffer_.view().size() > kMaxHeadBytes) {
      co_return Fail(Code::kBadGateway, "the response's head is too large",
                     "BAD_UPSTREAM_RESPONSE");
    }
    Result<size_t> n = co_await transport_.ReadSome(piece.span());
    if (!n) co_return std::unexpected(AsUpstream(std::move(n).error()));
    if (*n == 0) {
      co_return Fail(Code::kBadGateway, "the server closed the connection without an answer");
    }
    heard_ = true;
    buffer_.Append(std::string_view(piece.span().data(), *n));
    end = FindHeadEnd(buffer_.view());
  }
  Result<ResponseHead> head = ParseResponseHead(buffer_.view().substr(0, end), method_);
  if (!head) co_return std::unexpected(std::move(head).error());
  buffer_.Consume(end);
  keep_alive_ = head->keep_alive;
  if (head->status >= 200) body_ = BodyReader(head->framing, head->content_length);
  co_return head;
}

async::Task<Result<size_t>> ClientRequest::ReadSome(std::span<char> buffer) {
  ReadFunction read = [this](std::span<char> out) { return transport_.ReadSome(out); };
  Result<size_t> n = co_await body_.Read(buffer_, read, buffer);
  if (!n) co_return std::unexpected(AsUpstream(std::move(n).error()));
  co_return n;
}

async::Task<Result<std::string>> ClientRequest::ReadBody(size_t limit) {
  std::string body;
  std::vector<char> piece(32UL * 1024);
  while (true) {
    Result<size_t> n = co_await ReadSome(piece);
    if (!n) co_return std::unexpected(std::move(n).error());
    if (*n == 0) co_return body;
    if (body.size() + *n > limit) {
      co_return Fail(Code::kBadGateway,
                     fmt::format("the response's body is above {} bytes", limit));
    }
    body.append(piece.data(), *n);
  }
}

async::Task<Result<Response>> Fetch(Transport& transport, RequestHead head, std::string body,
                                    size_t limit) {
  ClientRequest request(transport);
  if (!body.empty()) {
    head.framing = Framing::kLength;
    head.content_length = body.size();
  }
  CO_TRY(co_await request.SendHead(std::move(head)));
  CO_TRY(co_await request.SendBody(body));
  Response response;
  do {
    CO_ASSIGN(response.head, co_await request.ReadHead());
  } while (response.head.status < 200);
  CO_ASSIGN(response.body, co_await request.ReadBody(limit));
  co_return response;
}

}  // namespace atl::http
