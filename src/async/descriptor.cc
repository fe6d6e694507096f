// SPDX-License-Identifier: Apache-2.0
#include "async/descriptor.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"

namespace atl::async {

namespace asio = boost::asio;

Descriptor::Descriptor(const Executor& executor, sys::Fd fd) : descriptor_(executor) {
  int raw = fd.Release();
  boost::system::error_code error;
  descriptor_.assign(raw, error);
  if (error) {
    // Only a descriptor that epoll refuses, or no memory: every operation will say it is closed.
    sys::Fd closes(raw);
    log::Error("watch a descriptor: {}", error.message());
    return;
  }
  descriptor_.non_blocking(true, error);
  fd_ = raw;
}

Task<Result<void>> Descriptor::Wait(Ready ready) {
  if (!is_open()) co_return Fail(Code::kCancelled, "wait: the connection is closed");
  auto how = ready == Ready::kRead ? asio::posix::descriptor_base::wait_read
                                   : asio::posix::descriptor_base::wait_write;
  auto [error] = co_await descriptor_.async_wait(how, asio::as_tuple(asio::use_awaitable));
  if (error == asio::error::operation_aborted) {
    co_return Fail(Code::kCancelled, "wait for a connection: cancelled");
  }
  if (error) co_return FailErrno(error.value(), "wait for a connection");
  co_return Result<void>();
}

void Descriptor::Interrupt() {
  boost::system::error_code ignored;
  descriptor_.cancel(ignored);
}

void Descriptor::Close() {
  boost::system::error_code ignored;
  descriptor_.close(ignored);
  fd_ = -1;
}

}  // namespace atl::async
