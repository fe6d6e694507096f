// SPDX-License-Identifier: Apache-2.0
// Waiting for a descriptor to be readable or writable; what streams, listeners and datagrams of
// this room are made of.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>

#include "async/task.h"
#include "sys/fd.h"

namespace atl::async {

class Descriptor {
 public:
  enum class Ready { kRead, kWrite };

  // Takes `fd`, which must be something that epoll can watch, and makes it non-blocking.
  Descriptor(const Executor& executor, sys::Fd fd);

  // kCancelled when cancelled or closed meanwhile.
  Task<Result<void>> Wait(Ready ready);
  // Whoever waits is told kCancelled; the descriptor stays open.
  void Interrupt();
  void Close();
  bool is_open() const { return descriptor_.is_open(); }
  int fd() const { return fd_; }
  Executor executor() { return descriptor_.get_executor(); }
  boost::asio::posix::stream_descriptor& asio() { return descriptor_; }

 private:
  boost::asio::posix::stream_descriptor descriptor_;
  int fd_ = -1;
};

}  // namespace atl::async
