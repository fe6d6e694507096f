// SPDX-License-Identifier: Apache-2.0
// What several threads work on together fails once: with the first error, which stops the others.
#pragma once

#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "base/result.h"

namespace atl::snapshot {

class FirstError {
 public:
  // `outer` stops too.
  explicit FirstError(const std::stop_token& outer) : link_(outer, Stopper{&source_}) {}

  std::stop_token token() const { return source_.get_token(); }
  bool stopped() const { return source_.stop_requested(); }
  void Stop() { source_.request_stop(); }

  void Set(Error error) {
    {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(error);
    }
    source_.request_stop();
  }
  // The first error, or `other` when none was set: what is set first has stopped the rest.
  Error Or(Error other) const {
    std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return other;
  }
  Unexpected Cancelled() const {
    return Unexpected(Or({.code = Code::kCancelled, .message = "the snapshot was given up"}));
  }

 private:
  struct Stopper {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };
  std::stop_source source_;
  std::stop_callback<Stopper> link_;
  mutable std::mutex mutex_;
  std::optional<Error> error_;
};

}  // namespace atl::snapshot
