// SPDX-License-Identifier: Apache-2.0
#include "async/byte_pipe.h"

#include <utility>

namespace atl::async {

Result<void> BytePipe::Write(std::string_view data) {
  std::shared_ptr<Event> more;
  {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || data_.size() < limit_; });
    if (closed_) return Fail(Code::kCancelled, "nobody reads any more");
    data_.append(data);
    more = more_;
  }
  more->Set();
  return {};
}

void BytePipe::Finish(Result<void> outcome) {
  std::shared_ptr<Event> more;
  {
    std::lock_guard lock(mutex_);
    finished_ = true;
    outcome_ = std::move(outcome);
    more = more_;
  }
  more->Set();
}

Task<Result<std::string>> BytePipe::Read() {
  while (true) {
    std::shared_ptr<Event> more;
    {
      std::lock_guard lock(mutex_);
      if (!data_.empty()) {
        std::string taken = std::exchange(data_, std::string());
        room_.notify_all();
        co_return taken;
      }
      if (finished_ && !outcome_) co_return Unexpected(outcome_.error());
      if (finished_) co_return std::string();
      if (more_->is_set()) more_ = std::make_shared<Event>();
      more = more_;
    }
    co_await more->Wait();
    if (!more->is_set()) co_return Fail(Code::kCancelled, "the read was cancelled");
  }
}

void BytePipe::CloseReader() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  data_.clear();
  room_.notify_all();
}

}  // namespace atl::async
