// SPDX-License-Identifier: Apache-2.0
// The names in a directory, sorted by bytes, in as little memory as they take.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace atl::agent {

class NameList {
 public:
  // "." and ".." are left out. 0 or an errno.
  int Read(int dir);

  size_t size() const { return names_.size(); }
  // The first name that is not before `name`; size() when all are.
  size_t Find(std::string_view name) const;
  const char* operator[](size_t index) const { return names_[index]; }

 private:
  void Add(const char* name, size_t size);

  std::vector<std::unique_ptr<char[]>> chunks_;
  size_t room_ = 0;  // in the last chunk, at its end
  size_t chunk_bytes_ = 0;
  std::vector<const char*> names_;
};

}  // namespace atl::agent
