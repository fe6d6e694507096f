// SPDX-License-Identifier: Apache-2.0
#include "agent/ring.h"

#include <algorithm>
#include <cstring>

namespace atl::agent {

Ring::Ring(size_t capacity, uint64_t begin)
    : capacity_(capacity),
      start_(begin),
      end_(begin),
      data_(std::make_unique_for_overwrite<char[]>(capacity)) {}

void Ring::Append(std::string_view bytes) {
  if (bytes.size() > capacity_) {
    end_ += bytes.size() - capacity_;
    bytes.remove_prefix(bytes.size() - capacity_);
  }
  while (!bytes.empty()) {
    size_t at = end_ % capacity_;
    size_t count = std::min(bytes.size(), capacity_ - at);
    std::memcpy(data_.get() + at, bytes.data(), count);
    bytes.remove_prefix(count);
    end_ += count;
  }
}

std::string Ring::Read(uint64_t offset, size_t limit) const {
  std::string bytes;
  while (offset < end_ && bytes.size() < limit) {
    size_t at = offset % capacity_;
    size_t count =
        std::min({static_cast<size_t>(end_ - offset), capacity_ - at, limit - bytes.size()});
    bytes.append(data_.get() + at, count);
    offset += count;
  }
  return bytes;
}

}  // namespace atl::agent
