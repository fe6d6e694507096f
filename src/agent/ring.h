// SPDX-License-Identifier: Apache-2.0
// The last bytes of an endless stream, addressed by their offset from its beginning.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace atl::agent {

class Ring {
 public:
  // `begin`: the offset of its first byte.
  explicit Ring(size_t capacity, uint64_t begin = 0);

  void Append(std::string_view bytes);

  uint64_t begin() const { return end_ - start_ < capacity_ ? start_ : end_ - capacity_; }
  uint64_t end() const { return end_; }

  // At most `limit` bytes from `offset`, which must be within [begin, end].
  std::string Read(uint64_t offset, size_t limit) const;

 private:
  size_t capacity_;
  uint64_t start_;
  uint64_t end_;
  std::unique_ptr<char[]> data_;
};

}  // namespace atl::agent
