// SPDX-License-Identifier: Apache-2.0
// Task<T>: a coroutine that runs on one shard. A co_await is a whole statement or the whole
// right-hand side of one.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"

namespace atl::async {

template <class T = void>
using Task = boost::asio::awaitable<T>;
using Executor = boost::asio::any_io_executor;

// The executor that the running coroutine lives on.
Task<Executor> ThisExecutor();

Task<> Sleep(std::chrono::milliseconds duration);

// Starts `task` on `executor` and forgets it. An exception that leaves it is logged with `what`.
void Spawn(const Executor& executor, Task<> task, std::string what);

// Runs `task` on another shard and waits for it here. Cancelling the wait cancels the task.
Task<> RunOn(const Executor& executor, Task<> task);

// True once, when `task` ended within `limit`; otherwise the task is cancelled (its pending
// operation fails with kCancelled), waited for, and the answer is false.
Task<bool> WithTimeout(std::chrono::milliseconds limit, Task<> task);

// Waits for the first of both to end, cancels the other and waits for that too.
Task<> Race(Task<> a, Task<> b);
// Runs both to the end.
Task<> Both(Task<> a, Task<> b);

// From here on the running coroutine cannot be cancelled: for work that must be finished.
Task<> DisableCancellation();

}  // namespace atl::async
