// SPDX-License-Identifier: Apache-2.0
// Room for a piece of a message, which every request needs for a moment: the threads keep a few.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace atl::http {

class Scratch {
 public:
  static constexpr size_t kBytes = 16UL * 1024;
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Not initialised.
  std::span<char> span() const { return {bytes_.get(), kBytes}; }

 private:
  std::unique_ptr<char[]> bytes_;
};

}  // namespace atl::http
