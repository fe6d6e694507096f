// SPDX-License-Identifier: Apache-2.0
#include "async/task.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "base/log.h"

namespace atl::async {

namespace asio = boost::asio;

namespace {

// A cancelled coroutine unwinds by Asio's operation_aborted exception; that is its normal end.
void LogUnlessCancelled(const std::exception_ptr& exception, const std::string& what) {
  try {
    std::rethrow_exception(exception);
  } catch (const boost::system::system_error& error) {
    if (error.code() != asio::error::operation_aborted) log::Error("{}: {}", what, error.what());
  } catch (const std::exception& error) {
    log::Error("{}: {}", what, error.what());
  }
}

}  // namespace

Task<Executor> ThisExecutor() {
  Executor executor = co_await asio::this_coro::executor;
  co_return executor;
}

Task<> Sleep(std::chrono::milliseconds duration) {
  Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, duration);
  co_await timer.async_wait(asio::use_awaitable);
}

void Spawn(const Executor& executor, Task<> task, std::string what) {
  asio::co_spawn(executor, std::move(task),
                 [what = std::move(what)](const std::exception_ptr& exception) {
                   if (exception) LogUnlessCancelled(exception, what);
                 });
}

Task<> RunOn(const Executor& executor, Task<> task) {
  co_await asio::co_spawn(
      executor, std::move(task),
      asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
}

namespace {

template <class Condition>
Task<size_t> Group(Task<> a, Task<> b, Condition condition) {
  Executor executor = co_await asio::this_coro::executor;
  auto group = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, std::move(a), asio::deferred),
      asio::co_spawn(executor, std::move(b), asio::deferred));
  auto [order, error_a, error_b] = co_await group.async_wait(condition, asio::use_awaitable);
  if (error_a) LogUnlessCancelled(error_a, "a parallel task");
  if (error_b) LogUnlessCancelled(error_b, "a parallel task");
  co_return order[0];
}

}  // namespace

Task<bool> WithTimeout(std::chrono::milliseconds limit, Task<> task) {
  asio::experimental::wait_for_one first;
  size_t winner = co_await Group(std::move(task), Sleep(limit), first);
  co_return winner == 0;
}

Task<> Race(Task<> a, Task<> b) {
  asio::experimental::wait_for_one first;
  co_await Group(std::move(a), std::move(b), first);
}

Task<> Both(Task<> a, Task<> b) {
  asio::experimental::wait_for_all all;
  co_await Group(std::move(a), std::move(b), all);
}

Task<> DisableCancellation() {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
}

}  // namespace atl::async
