// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/socket_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "json/writer.h"

namespace atl::api::sdk {
namespace {

bool IsJson(const http::ResponseHead& head) {
  return head.headers.Joined("Content-Type").starts_with("application/json");
}

std::string ChunkFrame(std::string_view id, std::string_view data, std::string_view event) {
  json::Writer writer;
  writer.BeginObject().Field("type", "stream").Field("id", id).Field("data", data);
  if (!event.empty()) writer.Field("event", event);
  writer.EndObject();
  return writer.Take();
}

std::string ResponseFrame(std::string_view id, int status, std::string_view body) {
  json::Writer writer;
  writer.BeginObject().Field("type", "response").Field("id", id).Field("status", status);
  if (!body.empty()) writer.Key("body").Raw(body);
  writer.Field("done", true).EndObject();
  return writer.Take();
}

Unexpected Gone() { return Fail(Code::kCancelled, "the client does not want the answer any more"); }

}  // namespace

std::string ErrorFrame(std::string_view id, std::string_view code, std::string_view message,
                       int status) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error");
  if (!id.empty()) writer.Field("id", id);
  writer.Field("code", code).Field("message", message).Field("status", status).EndObject();
  return writer.Take();
}

SocketExchange::SocketExchange(http::WebSocket& socket, http::Exchange& outer, std::string id,
                               http::RequestHead head, std::string body)
    : socket_(socket),
      outer_(outer),
      id_(std::move(id)),
      head_(std::move(head)),
      body_(std::move(body)),
      body_size_(body_.size()) {}

void SocketExchange::Leave() {
  gone_.Set();
  if (on_gone_) std::exchange(on_gone_, {})();
}

async::Task<> SocketExchange::Conclude() {
  if (done_ || gone_.is_set()) co_return;
  std::string why = status_ == 0 ? "there was no answer" : "the answer was cut off";
  std::string frame = ErrorFrame(id_, "INTERNAL_ERROR", why, 500);
  Result<void> sent = co_await socket_.SendText(frame);
  (void)sent;  // the client has gone away
}

async::Task<> SocketExchange::StayAlive() {
  if (status_ == 0 || done_ || gone_.is_set()) co_return;
  std::string frame = ChunkFrame(id_, {}, {});
  Result<void> sent = co_await socket_.SendText(frame);
  (void)sent;  // the client has gone away
}

async::Task<Result<size_t>> SocketExchange::ReadSome(std::span<char> buffer) {
  size_t count = std::min(buffer.size(), body_.size() - read_);
  std::memcpy(buffer.data(), body_.data() + read_, count);
  read_ += count;
  co_return count;
}

async::Task<Result<std::string>> SocketExchange::ReadBody(size_t limit) {
  if (body_.size() > limit) {
    co_return Fail(Code::kTooLarge, fmt::format("the body has more than {} bytes", limit));
  }
  co_return std::exchange(body_, {});
}

async::Task<Result<void>> SocketExchange::Respond(http::ResponseHead head, std::string body) {
  status_ = head.status;
  done_ = true;
  if (gone_.is_set()) co_return Gone();
  std::string text = std::move(body);
  if (!IsJson(head)) {
    std::string quoted;
    json::AppendString(quoted, text);
    text = std::move(quoted);
  }
  std::string frame = ResponseFrame(id_, status_, text);
  Result<void> sent = co_await socket_.SendText(frame);
  co_return sent;
}

async::Task<Result<void>> SocketExchange::StartResponse(http::ResponseHead head) {
  status_ = head.status;
  if (gone_.is_set()) co_return Gone();
  co_return Result<void>();
}

async::Task<Result<void>> SocketExchange::StartResponseWith(http::ResponseHead head,
                                                            std::string_view first) {
  CO_TRY(co_await StartResponse(std::move(head)));
  Result<void> sent = co_await Write(first);
  co_return sent;
}

// Of an event, its name and its data; comments say nothing here.
async::Task<Result<void>> SocketExchange::SendEvent(std::string_view event) {
  std::string_view name;
  std::string_view data;
  bool has_data = false;
  while (!event.empty()) {
    size_t end = std::min(event.find('\n'), event.size());
    std::string_view line = event.substr(0, end);
    event.remove_prefix(std::min(end + 1, event.size()));
    if (line.starts_with("event: ")) name = line.substr(7);
    if (line.starts_with("data: ")) {
      data = line.substr(6);
      has_data = true;
    }
  }
  if (!has_data) co_return Result<void>();
  std::string frame = ChunkFrame(id_, data, name);
  Result<void> sent = co_await socket_.SendText(frame);
  co_return sent;
}

async::Task<Result<void>> SocketExchange::Write(std::string_view data) {
  pending_ += data;
  size_t begin = 0;
  for (size_t end = pending_.find("\n\n"); end != std::string::npos;
       end = pending_.find("\n\n", begin)) {
    if (gone_.is_set()) co_return Gone();
    CO_TRY(co_await SendEvent(std::string_view(pending_).substr(begin, end - begin)));
    begin = end + 2;
  }
  pending_.erase(0, begin);
  co_return Result<void>();
}

async::Task<Result<void>> SocketExchange::Finish() {
  if (gone_.is_set()) co_return Gone();
  done_ = true;
  std::string frame = ResponseFrame(id_, status_, {});
  Result<void> sent = co_await socket_.SendText(frame);
  co_return sent;
}

async::Task<Result<void>> SocketExchange::Inform(http::ResponseHead /*head*/) {
  co_return Result<void>();
}

async::Task<Result<async::Stream*>> SocketExchange::Upgrade(http::ResponseHead /*head*/,
                                                            std::string& /*early*/) {
  co_return Fail(Code::kFailedPrecondition, "a request of a WebSocket cannot become another one");
}

async::Task<> SocketExchange::WaitForHangup() { co_await gone_.Wait(); }

}  // namespace atl::api::sdk
