// SPDX-License-Identifier: Apache-2.0
#include "async/mutex.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <mutex>
#include <vector>

namespace atl::async {

namespace asio = boost::asio;

namespace {

// A coroutine that sleeps until somebody, on whatever thread, wakes it.
struct Sleeper {
  explicit Sleeper(const Executor& executor)
      : timer(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer timer;
};
using SleeperPtr = std::shared_ptr<Sleeper>;

// Posted to the sleeper's own shard, it runs after the coroutine has begun to wait.
void Wake(const SleeperPtr& sleeper) {
  asio::post(sleeper->timer.get_executor(), [sleeper] { sleeper->timer.cancel(); });
}

}  // namespace

struct Mutex::Impl {
  std::mutex guard;
  bool held = false;
  std::deque<SleeperPtr> waiting;
};

Mutex::Mutex() : impl_(std::make_unique<Impl>()) {}
Mutex::~Mutex() = default;

Task<Mutex::Lock> Mutex::Acquire() {
  Executor executor = co_await asio::this_coro::executor;
  SleeperPtr sleeper;
  {
    std::lock_guard lock(impl_->guard);
    if (!impl_->held) {
      impl_->held = true;
    } else {
      sleeper = std::make_shared<Sleeper>(executor);
      impl_->waiting.push_back(sleeper);
    }
  }
  if (sleeper) {
    // The lock is handed over by Unlock, so this wait ends only with the lock held.
    co_await sleeper->timer.async_wait(asio::bind_cancellation_slot(
        asio::cancellation_slot(), asio::as_tuple(asio::use_awaitable)));
  }
  co_return Lock(this);
}

void Mutex::Lock::Unlock() {
  if (mutex_ == nullptr) return;
  Impl& impl = *std::exchange(mutex_, nullptr)->impl_;
  SleeperPtr next;
  {
    std::lock_guard lock(impl.guard);
    if (impl.waiting.empty()) {
      impl.held = false;
    } else {
      next = std::move(impl.waiting.front());
      impl.waiting.pop_front();
    }
  }
  if (next) Wake(next);
}

struct Event::Impl {
  std::mutex guard;
  bool set = false;
  std::vector<SleeperPtr> waiting;
};

Event::Event() : impl_(std::make_shared<Impl>()) {}
Event::~Event() = default;

void Event::Set() {
  std::vector<SleeperPtr> waiting;
  {
    std::lock_guard lock(impl_->guard);
    impl_->set = true;
    waiting.swap(impl_->waiting);
  }
  for (const SleeperPtr& sleeper : waiting) Wake(sleeper);
}

bool Event::is_set() const {
  std::lock_guard lock(impl_->guard);
  return impl_->set;
}

Task<> Event::Wait() {
  Executor executor = co_await asio::this_coro::executor;
  std::shared_ptr<Impl> impl = impl_;
  auto sleeper = std::make_shared<Sleeper>(executor);
  {
    std::lock_guard lock(impl->guard);
    if (impl->set) co_return;
    impl->waiting.push_back(sleeper);
  }
  co_await sleeper->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  std::lock_guard lock(impl->guard);
  std::erase(impl->waiting, sleeper);
}

}  // namespace atl::async
