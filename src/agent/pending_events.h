// SPDX-License-Identifier: Apache-2.0
// Events of a moment, with what says nothing new left out: a file that is made and written in one
// was made, one that is made and removed never was. What is beyond the bounds is lost, and an event
// says so.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

#include "protocol/watch.h"

namespace atl::agent {

class PendingEvents {
 public:
  static constexpr size_t kMaxBytes = 16U << 20U;

  void Add(protocol::FileEvent event);
  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }
  // In the order in which they came.
  std::vector<protocol::FileEvent> Take();

 private:
  std::vector<protocol::FileEvent> events_;
  std::vector<bool> dropped_;
  std::unordered_map<std::string, size_t> last_;  // of each path
  size_t count_ = 0;
  size_t bytes_ = 0;
  bool overflowed_ = false;
};

}  // namespace atl::agent
