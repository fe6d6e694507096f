// SPDX-License-Identifier: Apache-2.0
// An exchange whose body, when it is read as a whole, has no other fields than those of its route.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "api/v1/route.h"
#include "http/server.h"

namespace atl::api {

class StrictExchange : public http::Exchange {
 public:
  StrictExchange(http::Exchange& inner, std::span<const Field> fields)
      : inner_(inner), fields_(fields) {
    SetRequestId(inner.request_id());
  }

  async::Task<Result<std::string>> ReadBody(size_t limit) override;

  const http::RequestHead& request() const override { return inner_.request(); }
  std::string peer() const override { return inner_.peer(); }
  async::Task<Result<size_t>> ReadSome(std::span<char> buffer) override {
    return inner_.ReadSome(buffer);
  }
  async::Task<Result<void>> Respond(http::ResponseHead head, std::string body) override {
    PassTimings();
    return inner_.Respond(std::move(head), std::move(body));
  }
  async::Task<Result<void>> StartResponse(http::ResponseHead head) override {
    PassTimings();
    return inner_.StartResponse(std::move(head));
  }
  async::Task<Result<void>> StartResponseWith(http::ResponseHead head,
                                              std::string_view first) override {
    PassTimings();
    return inner_.StartResponseWith(std::move(head), first);
  }
  async::Task<Result<void>> Write(std::string_view data) override { return inner_.Write(data); }
  async::Task<Result<void>> Finish() override { return inner_.Finish(); }
  bool response_started() const override { return inner_.response_started(); }
  int status() const override { return inner_.status(); }
  async::Task<Result<void>> Inform(http::ResponseHead head) override {
    return inner_.Inform(std::move(head));
  }
  async::Task<Result<async::Stream*>> Upgrade(http::ResponseHead head,
                                              std::string& early) override {
    PassTimings();
    return inner_.Upgrade(std::move(head), early);
  }
  bool Rewind() override { return inner_.Rewind(); }
  bool draining() const override { return inner_.draining(); }
  async::Task<> WaitForHangup() override { return inner_.WaitForHangup(); }
  void WatchHangup(std::function<void()> gone) override { inner_.WatchHangup(std::move(gone)); }
  void Abort() override { inner_.Abort(); }

 private:
  // A head goes out once.
  void PassTimings() {
    for (const auto& [name, ms] : timings()) inner_.AddTiming(name, ms);
  }

  http::Exchange& inner_;
  std::span<const Field> fields_;
};

}  // namespace atl::api
