// SPDX-License-Identifier: Apache-2.0
// Readiness of descriptors, of which a wait costs no system call. Asio's reactor tells epoll of
// every single wait; here a descriptor is told of once, edge-triggered (epoll(7)), in a set of the
// loop's own, and what is known of its readiness is kept between waits. The reactor watches that
// set as one descriptor.
#pragma once

#include <sys/epoll.h>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <functional>
#include <mutex>
#include <span>

#include "base/result.h"

namespace atl::async {

enum class Ready { kRead, kWrite };

// One for each event loop. All may be called from any thread; handlers run on the loop.
class Poller : public boost::asio::execution_context::service {
  template <class Tag>
  using Hook =
      boost::intrusive::list_base_hook<boost::intrusive::tag<Tag>,
                                       boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
  struct OfDescriptor;
  struct OfLoop;

 public:
  using Handler = std::move_only_function<void(boost::system::error_code)>;
  using key_type = Poller;
  static boost::asio::execution_context::id id;  // NOLINT(readability-identifier-naming): Asio's

  // One wait. Belongs to whoever waits; with its end the wait ends, too. A handler that is on its
  // way already is still called: it owns what it needs.
  class Wait : public Hook<OfDescriptor>, public Hook<OfLoop> {
   public:
    Wait() = default;
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

   private:
    friend class Poller;
    Handler handler_;
    boost::asio::cancellation_slot slot_;
    Poller* poller_ = nullptr;
  };

 private:
  template <class Tag>
  using List = boost::intrusive::list<Wait, boost::intrusive::base_hook<Hook<Tag>>,
                                      boost::intrusive::constant_time_size<false>>;

 public:
  // What is known of one descriptor.
  class Watched {
    friend class Poller;
    bool& Known(Ready ready) { return ready == Ready::kRead ? readable_ : writable_; }
    List<OfDescriptor> readers_;
    List<OfDescriptor> writers_;
    uint32_t events_ = 0;  // that epoll looks for; 0: it does not know the descriptor
    // As far as is known: what is said to be ready may have been used up since.
    bool readable_ = true;
    bool writable_ = true;
    bool hung_up_ = false;
    uint32_t seen_ = 0;  // how many events there have been
  };

  explicit Poller(boost::asio::execution_context& context);
  ~Poller() override;
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // The poller of the loop that an executor belongs to.
  static Poller& Of(const boost::asio::any_io_executor& executor);

  // Whether there is nothing to do but Start: an operation would block. Asks the kernel where what
  // is known may be out of date. An error where the descriptor cannot be watched.
  Result<bool> MustWait(Watched& watched, int fd, Ready ready);
  // After MustWait. Calls `handler`, never from within this call, when the descriptor is ready, or
  // with operation_aborted when the wait is cancelled, also through `slot`.
  void Start(Watched& watched, Ready ready, Wait& wait, boost::asio::cancellation_slot slot,
             Handler handler);
  // What is known before an operation; what it finds out counts unless an event came meanwhile.
  struct Seen {
    bool ready = true;  // false: nothing has come since the last that found nothing
    uint32_t events = 0;
  };
  Seen Look(Watched& watched, Ready ready);
  // An operation has said EAGAIN.
  void NoteBlocked(Watched& watched, Ready ready, Seen before);
  // A read from a TCP connection got less than it had room for: there was no more (epoll(7)).
  void NoteShortRead(Watched& watched, Seen before);
  // All waits end with operation_aborted.
  void Cancel(Watched& watched);
  // The same, and epoll forgets the descriptor, which is about to be closed.
  void Remove(Watched& watched, int fd);

 private:
  void shutdown() override;
  Handler Take(Wait& wait);
  void OnCancel(Wait& wait);
  void Abort(Wait& wait);
  void AbortAll(List<OfDescriptor>& waits);
  void Complete(List<OfDescriptor>& waits, std::unique_lock<std::mutex>& lock);
  void Arm();
  void DisarmIfIdle();
  void Drain();

  boost::asio::io_context& context_;
  boost::asio::posix::stream_descriptor set_;
  int error_ = 0;  // why there is no set
  std::mutex mutex_;
  List<OfLoop> waits_;
  bool armed_ = false;            // the reactor watches the set
  std::span<epoll_event> batch_;  // what Drain has still to look at
};

}  // namespace atl::async
