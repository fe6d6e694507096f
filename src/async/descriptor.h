// SPDX-License-Identifier: Apache-2.0
// Waiting for a descriptor to be readable or writable; what streams, listeners and datagrams of
// this room are made of.
#pragma once

#include "async/poller.h"
#include "async/task.h"
#include "sys/fd.h"

namespace atl::async {

class Descriptor {
 public:
  using Ready = async::Ready;

  // Takes `fd` and makes it non-blocking.
  Descriptor(const Executor& executor, sys::Fd fd);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // Returns when an operation would not block. kCancelled when cancelled or closed meanwhile; an
  // error where epoll cannot watch the descriptor.
  Task<Result<void>> Wait(Ready ready);
  // The same without a coroutine. `handler` is not called from within this call, and an error means
  // that it was cancelled or cannot be watched.
  void Start(Ready ready, Poller::Wait& wait, boost::asio::cancellation_slot slot,
             Poller::Handler handler);
  // What operations tell, so that waits need not ask: see Poller.
  Poller::Seen Look(Ready ready) { return poller_.Look(watched_, ready); }
  void NoteBlocked(Ready ready, Poller::Seen before) {
    poller_.NoteBlocked(watched_, ready, before);
  }
  void NoteShortRead(Poller::Seen before) { poller_.NoteShortRead(watched_, before); }

  // Whoever waits is told kCancelled; the descriptor stays open.
  void Interrupt();
  void Close();
  bool is_open() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  Executor executor() const { return executor_; }

 private:
  Executor executor_;
  Poller& poller_;
  sys::Fd fd_;
  Poller::Watched watched_;
};

}  // namespace atl::async
