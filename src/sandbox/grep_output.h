// SPDX-License-Identifier: Apache-2.0
// What grep and ripgrep print with a NUL behind the file name, as matches.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sandbox/grep.h"

namespace atl::sandbox {

class GrepOutput {
 public:
  // `columns`: whether a column stands behind the line number.
  GrepOutput(bool columns, size_t limit) : columns_(columns), limit_(limit) {}

  void Add(std::string_view bytes);
  // There were more than the limit.
  bool full() const { return full_; }
  std::vector<GrepMatch> Take() { return std::move(matches_); }

 private:
  void TakeLine();

  bool columns_;
  size_t limit_;
  bool full_ = false;
  std::string line_;
  std::vector<GrepMatch> matches_;
};

}  // namespace atl::sandbox
