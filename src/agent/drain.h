// SPDX-License-Identifier: Apache-2.0
// Takes what background programs go on writing after the command that started them has ended, so
// that they do not end with it.
#pragma once

#include <mutex>
#include <vector>

#include "sys/fd.h"

namespace atl::agent {

class Drain {
 public:
  // A pipe, non-blocking; read and thrown away until its end. Too many are closed instead.
  void Add(sys::Fd pipe);

 private:
  void Run();

  std::mutex mutex_;
  std::vector<sys::Fd> added_;
  sys::Fd event_;  // tells the thread; empty: there is none yet
  size_t count_ = 0;
};

}  // namespace atl::agent
