// SPDX-License-Identifier: Apache-2.0
#include "async/alarm.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace atl::async {

namespace asio = boost::asio;

Task<> Alarm::SleepUntil(Clock::time_point when) {
  timer_.expires_at(when);
  co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  // Woken, or is who sleeps to end?
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    throw boost::system::system_error(asio::error::operation_aborted);
  }
}

void Alarm::WakeBy(Clock::time_point when) {
  if (when < timer_.expiry()) timer_.cancel();
}

}  // namespace atl::async
