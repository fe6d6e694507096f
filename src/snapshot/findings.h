// SPDX-License-Identifier: Apache-2.0
// What a check has found so far, from several threads.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace atl::snapshot {

class Findings {
 public:
  void Error(std::string message) {
    const std::lock_guard lock(mutex_);
    if (errors_.size() < kMaxErrors) errors_.push_back(std::move(message));
  }
  void Hint(std::string message) {
    const std::lock_guard lock(mutex_);
    if (hints_.size() < kMaxErrors) hints_.push_back(std::move(message));
  }
  std::vector<std::string> TakeErrors() { return std::move(errors_); }
  std::vector<std::string> TakeHints() { return std::move(hints_); }

 private:
  static constexpr size_t kMaxErrors = 1000;
  std::mutex mutex_;
  std::vector<std::string> errors_;
  std::vector<std::string> hints_;
};

}  // namespace atl::snapshot
