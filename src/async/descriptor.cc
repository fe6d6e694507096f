// SPDX-License-Identifier: Apache-2.0
#include "async/descriptor.h"

#include <fcntl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace atl::async {

namespace asio = boost::asio;

Descriptor::Descriptor(const Executor& executor, sys::Fd fd)
    : executor_(executor), poller_(Poller::Of(executor)), fd_(std::move(fd)) {
  int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
}

Descriptor::~Descriptor() { Close(); }

Task<Result<void>> Descriptor::Wait(Ready ready) {
  if (!is_open()) co_return Fail(Code::kCancelled, "wait: the connection is closed");
  CO_ASSIGN(bool must_wait, poller_.MustWait(watched_, fd_.get(), ready));
  if (!must_wait) co_return Result<void>();
  Poller::Wait wait;
  auto initiate = [&](auto handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    Executor own = asio::get_associated_executor(handler, executor_);
    if (own == executor_) {
      poller_.Start(watched_, ready, wait, slot, std::move(handler));
      return;
    }
    // Whoever lives on another loop goes on there.
    poller_.Start(watched_, ready, wait, slot,
                  [own, handler = std::move(handler)](boost::system::error_code error) mutable {
                    asio::post(own, [handler = std::move(handler), error]() mutable {
                      std::move(handler)(error);
                    });
                  });
  };
  using Token = asio::as_tuple_t<asio::use_awaitable_t<>>;
  auto [error] = co_await asio::async_initiate<const Token, void(boost::system::error_code)>(
      initiate, asio::as_tuple(asio::use_awaitable));
  if (error) co_return Fail(Code::kCancelled, "wait for a connection: cancelled");
  co_return Result<void>();
}

void Descriptor::Start(Ready ready, Poller::Wait& wait, asio::cancellation_slot slot,
                       Poller::Handler handler) {
  boost::system::error_code outcome;
  if (is_open()) {
    Result<bool> must_wait = poller_.MustWait(watched_, fd_.get(), ready);
    if (must_wait && *must_wait) {
      poller_.Start(watched_, ready, wait, slot, std::move(handler));
      return;
    }
    if (!must_wait) outcome = asio::error::make_error_code(asio::error::bad_descriptor);
  } else {
    outcome = asio::error::make_error_code(asio::error::operation_aborted);
  }
  asio::post(executor_,
             [handler = std::move(handler), outcome]() mutable { std::move(handler)(outcome); });
}

void Descriptor::Interrupt() { poller_.Cancel(watched_); }

void Descriptor::Close() {
  if (!fd_) return;
  poller_.Remove(watched_, fd_.get());
  fd_.Reset();
}

}  // namespace atl::async
