// SPDX-License-Identifier: Apache-2.0
#include "async/poller.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <cerrno>
#include <utility>

#include "base/log.h"

namespace atl::async {

namespace asio = boost::asio;

namespace {

constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP;
constexpr size_t kBatch = 128;

uint32_t EventsOf(Ready ready) { return ready == Ready::kRead ? kReadEvents : EPOLLOUT; }

bool IsReady(int fd, Ready ready) {
  auto events = static_cast<int16_t>(ready == Ready::kRead ? POLLIN : POLLOUT);
  pollfd poll{.fd = fd, .events = events, .revents = 0};
  return ::poll(&poll, 1, 0) != 0;
}

}  // namespace

asio::execution_context::id Poller::id;

Poller::Wait::~Wait() {
  if (poller_ == nullptr) return;
  std::lock_guard guard(poller_->mutex_);
  if (slot_.is_connected()) slot_.clear();
  Hook<OfDescriptor>::unlink();
  Hook<OfLoop>::unlink();
  poller_->DisarmIfIdle();
}

Poller::Poller(asio::execution_context& context)
    : service(context), context_(static_cast<asio::io_context&>(context)), set_(context_) {
  int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) {
    error_ = errno;
    return;
  }
  boost::system::error_code error;
  set_.assign(fd, error);
  if (!error) return;
  error_ = error.value();
  ::close(fd);
}

Poller::~Poller() = default;

Poller& Poller::Of(const asio::any_io_executor& executor) {
  return asio::use_service<Poller>(asio::query(executor, asio::execution::context));
}

void Poller::shutdown() {
  // With its handler a waiter goes, and what it holds.
  while (true) {
    Handler gone;
    std::lock_guard guard(mutex_);
    if (waits_.empty()) break;
    gone = Take(waits_.front());
  }
  boost::system::error_code ignored;
  set_.close(ignored);
}

Result<bool> Poller::MustWait(Watched& watched, int fd, Ready ready) {
  std::lock_guard guard(mutex_);
  if (error_ != 0) return FailErrno(error_, "make an epoll set");
  bool& known = watched.Known(ready);
  uint32_t wanted = watched.events_ | EventsOf(ready);
  if (wanted != watched.events_) {
    epoll_event event{.events = wanted | EPOLLET, .data = {.ptr = &watched}};
    int how = watched.events_ == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(set_.native_handle(), how, fd, &event) != 0) {
      return FailErrno(errno, "watch a descriptor");
    }
    watched.events_ = wanted;
    // What it is ready for now comes as an event.
    known = false;
    return true;
  }
  known = known && IsReady(fd, ready);
  return !known;
}

void Poller::Start(Watched& watched, Ready ready, Wait& wait, asio::cancellation_slot slot,
                   Handler handler) {
  std::lock_guard guard(mutex_);
  if (watched.Known(ready)) {
    // Another thread's event has come between.
    asio::post(context_, [handler = std::move(handler)]() mutable {
      std::move(handler)(boost::system::error_code());
    });
    return;
  }
  wait.handler_ = std::move(handler);
  wait.poller_ = this;
  (ready == Ready::kRead ? watched.readers_ : watched.writers_).push_back(wait);
  waits_.push_back(wait);
  wait.slot_ = slot;
  if (slot.is_connected()) {
    // Taking the wait frees this very function object: what it needs is handed over first.
    slot.assign([this, &wait](asio::cancellation_type) { OnCancel(wait); });
  }
  Arm();
}

void Poller::OnCancel(Wait& wait) {
  std::lock_guard guard(mutex_);
  Abort(wait);
  DisarmIfIdle();
}

Poller::Seen Poller::Look(Watched& watched, Ready ready) {
  std::lock_guard guard(mutex_);
  bool known = (watched.events_ & EventsOf(ready)) != 0;
  return {.ready = !known || watched.Known(ready), .events = watched.seen_};
}

void Poller::NoteBlocked(Watched& watched, Ready ready, Seen before) {
  std::lock_guard guard(mutex_);
  if ((watched.events_ & EventsOf(ready)) == 0 || watched.seen_ != before.events) return;
  watched.Known(ready) = false;
}

void Poller::NoteShortRead(Watched& watched, Seen before) {
  std::lock_guard guard(mutex_);
  if ((watched.events_ & EPOLLIN) == 0 || watched.seen_ != before.events) return;
  // The end comes behind the last data, and may have been told of with it.
  if (!watched.hung_up_) watched.readable_ = false;
}

void Poller::Cancel(Watched& watched) {
  std::lock_guard guard(mutex_);
  AbortAll(watched.readers_);
  AbortAll(watched.writers_);
  DisarmIfIdle();
}

void Poller::Remove(Watched& watched, int fd) {
  std::lock_guard guard(mutex_);
  AbortAll(watched.readers_);
  AbortAll(watched.writers_);
  DisarmIfIdle();
  // Said expressly: a copy of the descriptor elsewhere would keep it in the set.
  if (watched.events_ != 0) ::epoll_ctl(set_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
  watched.events_ = 0;
  for (epoll_event& event : batch_) {
    if (event.data.ptr == &watched) event.data.ptr = nullptr;
  }
}

Poller::Handler Poller::Take(Wait& wait) {
  wait.Hook<OfDescriptor>::unlink();
  wait.Hook<OfLoop>::unlink();
  wait.poller_ = nullptr;
  if (wait.slot_.is_connected()) wait.slot_.clear();
  return std::exchange(wait.handler_, {});
}

void Poller::Abort(Wait& wait) {
  asio::post(context_, [handler = Take(wait)]() mutable {
    std::move(handler)(asio::error::make_error_code(asio::error::operation_aborted));
  });
}

void Poller::AbortAll(List<OfDescriptor>& waits) {
  while (!waits.empty()) Abort(waits.front());
}

void Poller::Complete(List<OfDescriptor>& waits, std::unique_lock<std::mutex>& lock) {
  // Each is called from the loop: whoever waits again from within is not among those of now. One of
  // them may make the descriptor go, and the list with it.
  for (size_t left = waits.size(); left > 0 && !waits.empty(); --left) {
    Handler handler = Take(waits.front());
    lock.unlock();
    try {
      std::move(handler)(boost::system::error_code());
    } catch (const std::exception& error) {
      log::Error("event loop: {}", error.what());
    }
    handler = {};
    lock.lock();
    if (batch_.front().data.ptr == nullptr) return;
  }
}

void Poller::Arm() {
  if (armed_ || waits_.empty()) return;
  armed_ = true;
  set_.async_wait(asio::posix::descriptor_base::wait_read,
                  [this](const boost::system::error_code& error) {
                    if (!error) Drain();
                    std::lock_guard guard(mutex_);
                    armed_ = false;
                    if (set_.is_open()) Arm();
                  });
}

// A loop that has nothing else to do ends.
void Poller::DisarmIfIdle() {
  if (!armed_ || !waits_.empty()) return;
  boost::system::error_code ignored;
  set_.cancel(ignored);
}

void Poller::Drain() {
  std::array<epoll_event, kBatch> events;
  // From here on what is closed is taken out of the batch.
  std::unique_lock lock(mutex_);
  int count = ::epoll_wait(set_.native_handle(), events.data(), kBatch, 0);
  if (count <= 0) return;
  batch_ = std::span(events).first(static_cast<size_t>(count));
  while (!batch_.empty()) {
    auto* watched = static_cast<Watched*>(batch_.front().data.ptr);
    uint32_t what = batch_.front().events;
    if (watched == nullptr) {
      batch_ = batch_.subspan(1);
      continue;
    }
    bool both = (what & (EPOLLERR | EPOLLHUP)) != 0;
    bool read = both || (what & kReadEvents) != 0;
    bool write = both || (what & EPOLLOUT) != 0;
    ++watched->seen_;
    watched->hung_up_ = watched->hung_up_ || both || (what & EPOLLRDHUP) != 0;
    watched->readable_ = watched->readable_ || read;
    watched->writable_ = watched->writable_ || write;
    // A handler may make the descriptor go, which takes it out of the batch.
    if (read) Complete(watched->readers_, lock);
    if (write && batch_.front().data.ptr != nullptr) Complete(watched->writers_, lock);
    batch_ = batch_.subspan(1);
  }
}

}  // namespace atl::async
