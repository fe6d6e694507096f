// SPDX-License-Identifier: Apache-2.0
// Tells a thread when something happens to a process.
#pragma once

#include <sys/eventfd.h>

#include <mutex>

#include "sys/fd.h"

namespace atl::agent {

// P has a `mutex`, and `watchers`, a set of descriptors that are written to when something happens.
template <class P>
class Watch {
 public:
  explicit Watch(P* process) : process_(process), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    std::lock_guard lock(process_->mutex);
    process_->watchers.insert(event_.get());
  }
  ~Watch() {
    std::lock_guard lock(process_->mutex);
    process_->watchers.erase(event_.get());
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  int fd() const { return event_.get(); }
  void Clear() const {
    eventfd_t count = 0;
    eventfd_read(event_.get(), &count);
  }

 private:
  P* process_;
  sys::Fd event_;
};

}  // namespace atl::agent
