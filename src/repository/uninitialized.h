// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

namespace atl::repository {

// Makes `text` that long; bytes behind its old end may be anything until they are written.
inline void ResizeUninitialized(std::string& text, size_t size) {
  // libstdc++ 12 gives the callback the capacity for a size, and keeps a wrong one of what it
  // allocates itself.
  text.reserve(size);
  text.resize_and_overwrite(size, [size](char*, size_t) { return size; });
}

}  // namespace atl::repository
