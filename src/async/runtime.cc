// SPDX-License-Identifier: Apache-2.0
#include "async/runtime.h"

#include <atomic>
#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <exception>
#include <thread>
#include <vector>

#include "base/log.h"

namespace atl::async {

namespace asio = boost::asio;

struct BlockingPool::Impl {
  explicit Impl(int threads) : pool(static_cast<size_t>(threads)) {}
  asio::thread_pool pool;
};

BlockingPool::BlockingPool(int threads) : impl_(std::make_unique<Impl>(threads)) {}
BlockingPool::~BlockingPool() { impl_->pool.join(); }

void BlockingPool::Join() { impl_->pool.join(); }

void BlockingPool::Post(std::function<void()> fn) {
  asio::post(impl_->pool, [fn = std::move(fn)] {
    try {
      fn();
    } catch (const std::exception& error) {
      log::Error("background work: {}", error.what());
    }
  });
}

Task<> BlockingPool::RunJob(std::function<void()> job) {
  std::exception_ptr failure;
  auto initiate = [this, &job, &failure](auto handler) {
    auto executor = asio::get_associated_executor(handler);
    auto guard = asio::make_work_guard(executor);
    asio::post(impl_->pool,
               [handler = std::move(handler), guard = std::move(guard), &job, &failure]() mutable {
                 try {
                   job();
                 } catch (...) {
                   failure = std::current_exception();
                 }
                 // The guard travels along: the loop must not end before the handler has run.
                 auto home = guard.get_executor();
                 asio::post(home, [handler = std::move(handler),
                                   guard = std::move(guard)]() mutable { std::move(handler)(); });
               });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(initiate,
                                                                       asio::use_awaitable);
  if (failure) std::rethrow_exception(failure);
}

namespace {

struct Shard {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
};

// An exception that reaches the loop comes from a completion handler of ours; the other connections
// of the shard must go on.
void RunLoop(asio::io_context& context) {
  while (true) {
    try {
      context.run();
      return;
    } catch (const std::exception& error) {
      log::Error("event loop: {}", error.what());
    }
  }
}

}  // namespace

struct Runtime::Impl {
  explicit Impl(int blocking_threads) : pool(blocking_threads) {}
  std::vector<std::unique_ptr<Shard>> shards;
  std::vector<std::thread> threads;
  std::atomic<size_t> next = 0;
  std::unique_ptr<asio::signal_set> signals;
  std::function<void()> on_terminate;
  std::unique_ptr<asio::signal_set> upgrade;
  std::function<void()> on_upgrade;
  BlockingPool pool;

  void WaitForSignal() {
    signals->async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      on_terminate();
      WaitForSignal();
    });
  }

  void WaitForUpgrade() {
    upgrade->async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      on_upgrade();
      WaitForUpgrade();
    });
  }
};

Runtime::Runtime(int shards, int blocking_threads)
    : impl_(std::make_unique<Impl>(blocking_threads)) {
  for (int i = 0; i < shards; ++i) impl_->shards.push_back(std::make_unique<Shard>());
  for (int i = 1; i < shards; ++i) {
    impl_->threads.emplace_back(
        [shard = impl_->shards[static_cast<size_t>(i)].get()] { RunLoop(shard->context); });
  }
}

Runtime::~Runtime() {
  Stop();
  for (std::thread& thread : impl_->threads) thread.join();
  impl_->pool.Join();
}

int Runtime::shard_count() const { return static_cast<int>(impl_->shards.size()); }

Executor Runtime::shard(int index) const {
  return impl_->shards[static_cast<size_t>(index)]->context.get_executor();
}

Executor Runtime::NextShard() {
  return shard(static_cast<int>(impl_->next++ % impl_->shards.size()));
}

BlockingPool& Runtime::blocking() { return impl_->pool; }

void Runtime::Run() { RunLoop(impl_->shards[0]->context); }

void Runtime::Stop() {
  for (auto& shard : impl_->shards) shard->context.stop();
}

void Runtime::OnTerminate(std::function<void()> fn) {
  impl_->on_terminate = std::move(fn);
  impl_->signals = std::make_unique<asio::signal_set>(impl_->shards[0]->context, SIGTERM, SIGINT);
  impl_->WaitForSignal();
}

void Runtime::OnUpgrade(std::function<void()> fn) {
  impl_->on_upgrade = std::move(fn);
  impl_->upgrade = std::make_unique<asio::signal_set>(impl_->shards[0]->context, SIGUSR2);
  impl_->WaitForUpgrade();
}

void RunToEnd(Task<> task) {
  asio::io_context context(1);
  std::exception_ptr failure;
  asio::co_spawn(context, std::move(task), [&](const std::exception_ptr& exception) {
    failure = exception;
    context.stop();
  });
  context.run();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace atl::async
