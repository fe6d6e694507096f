// SPDX-License-Identifier: Apache-2.0
// Bytes from a thread that blocks to a coroutine: bounded, and each side notices that the other has
// gone.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "async/mutex.h"
#include "async/task.h"
#include "base/result.h"

namespace atl::async {

class BytePipe {
 public:
  explicit BytePipe(size_t limit = 1U << 20U) : limit_(limit) {}

  // The blocking side. kCancelled once the reader has closed.
  Result<void> Write(std::string_view data);
  // The end: of everything, or of what could be made before `failure`.
  void Finish(Result<void> outcome);

  // The coroutine's side: what has come, or an empty string at the end, or the failure.
  Task<Result<std::string>> Read();
  void CloseReader();

 private:
  size_t limit_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::shared_ptr<Event> more_ = std::make_shared<Event>();
  std::string data_;
  bool finished_ = false;
  bool closed_ = false;
  Result<void> outcome_;
};

}  // namespace atl::async
