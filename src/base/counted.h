// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace atl {

// Counts one for as long as it lives. `Count`: an integer, or an atomic one.
template <class Count>
class Counted {
 public:
  explicit Counted(Count& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  Count& count_;
};

}  // namespace atl
