// SPDX-License-Identifier: Apache-2.0
// One request of a WebSocket and its answer, for handlers that know of HTTP alone.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "async/mutex.h"
#include "http/server.h"
#include "http/websocket.h"

namespace atl::api::sdk {

class SocketExchange : public http::Exchange {
 public:
  // `outer`: the request whose WebSocket it is. Both outlive it.
  SocketExchange(http::WebSocket& socket, http::Exchange& outer, std::string id,
                 http::RequestHead head, std::string body);

  const std::string& id() const { return id_; }
  size_t body_size() const { return body_size_; }
  // The client does not want the answer any more.
  void Leave();
  // Says so if there was no answer, or only a part of one.
  async::Task<> Conclude();
  // Clients give up a stream that is silent for minutes.
  async::Task<> StayAlive();

  const http::RequestHead& request() const override { return head_; }
  std::string peer() const override { return outer_.peer(); }
  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override;
  async::Task<Result<std::string>> ReadBody(size_t limit) override;
  async::Task<Result<void>> Respond(http::ResponseHead head, std::string body) override;
  async::Task<Result<void>> StartResponse(http::ResponseHead head) override;
  async::Task<Result<void>> StartResponseWith(http::ResponseHead head,
                                              std::string_view first) override;
  async::Task<Result<void>> Write(std::string_view data) override;
  async::Task<Result<void>> Finish() override;
  bool response_started() const override { return status_ != 0; }
  int status() const override { return status_; }
  async::Task<Result<void>> Inform(http::ResponseHead head) override;
  async::Task<Result<async::Stream*>> Upgrade(http::ResponseHead head, std::string& early) override;
  bool draining() const override { return outer_.draining(); }
  async::Task<> WaitForHangup() override;
  void WatchHangup(std::function<void()> gone) override { on_gone_ = std::move(gone); }
  void Abort() override { aborted_ = true; }

 private:
  async::Task<Result<void>> SendEvent(std::string_view event);

  http::WebSocket& socket_;
  http::Exchange& outer_;
  const std::string id_;
  http::RequestHead head_;
  std::string body_;
  const size_t body_size_;
  size_t read_ = 0;
  int status_ = 0;
  bool done_ = false;
  bool aborted_ = false;
  std::string pending_;  // of an event whose end has not come
  async::Event gone_;
  std::function<void()> on_gone_;
};

std::string ErrorFrame(std::string_view id, std::string_view code, std::string_view message,
                       int status);

}  // namespace atl::api::sdk
