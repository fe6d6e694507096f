// SPDX-License-Identifier: Apache-2.0
#include "api/seed/send_queue.h"

#include <utility>

namespace atl::api {
namespace {

// When more than this waits for the client, who puts waits.
constexpr size_t kMaxPending = 256UL * 1024;

}  // namespace

async::Task<Result<void>> SendQueue::Put() {
  if (more_) more_->Set();
  while (pending_.size() > kMaxPending && !failed_) {
    room_ = std::make_shared<async::Event>();
    std::shared_ptr<async::Event> room = room_;
    co_await room->Wait();
  }
  if (failed_) co_return Fail(Code::kCancelled, "the client takes no more output");
  co_return Result<void>();
}

void SendQueue::Close() {
  closed_ = true;
  if (more_) more_->Set();
}

async::Task<> SendQueue::Send() {
  while (!failed_ && !(closed_ && pending_.empty())) {
    if (pending_.empty()) {
      more_ = std::make_shared<async::Event>();
      std::shared_ptr<async::Event> more = more_;
      co_await more->Wait();
      more_.reset();
      continue;
    }
    sending_.clear();
    std::swap(pending_, sending_);
    if (room_) room_->Set();
    Result<void> sent = co_await exchange_.Write(sending_);
    if (!sent) failed_ = true;
  }
  if (room_) room_->Set();
  complete_ = !failed_;
}

async::Task<> FinishStream(http::Exchange& exchange, bool complete) {
  if (complete) {
    Result<void> finished = co_await exchange.Finish();
    if (finished) co_return;
  }
  exchange.Abort();
}

}  // namespace atl::api
