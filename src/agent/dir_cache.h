// SPDX-License-Identifier: Apache-2.0
// The directory that was used last, opened: entries come directory by directory.
#pragma once

#include <string>
#include <string_view>

#include "agent/staging.h"
#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

class DirCache {
 public:
  explicit DirCache(int root) : root_(root) {}

  // A descriptor for names in the directory, valid until the next call; an empty path is the root.
  Result<int> Open(std::string_view path) {
    if (path.empty()) return root_;
    if (dir_ && path == path_) return dir_.get();
    dir_.Reset();
    path_ = path;
    ASSIGN(dir_, OpenBeneath(root_, path_, O_PATH | O_DIRECTORY));
    return dir_.get();
  }
  // What is at or below the path may be another directory now.
  void Forget(std::string_view path) {
    if (!dir_ || !std::string_view(path_).starts_with(path)) return;
    if (path.empty() || path_.size() == path.size() || path_[path.size()] == '/') dir_.Reset();
  }

 private:
  int root_;
  std::string path_;
  sys::Fd dir_;
};

}  // namespace atl::agent
