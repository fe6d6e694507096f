// SPDX-License-Identifier: Apache-2.0
// One connection of the server: reads requests one after the other and lets a handler answer them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "async/alarm.h"
#include "http/body.h"
#include "http/server.h"

namespace atl::http {

class Connection {
 public:
  Connection(async::Stream stream, const Handler& handler, const ServerOptions& options,
             const std::atomic<bool>* draining);
  ~Connection();

  async::Task<> Serve();
  // Only on the connection's own shard: closes it when it waits for a request.
  void CloseIfIdle();

 private:
  class ExchangeImpl;

  using Clock = std::chrono::steady_clock;

  async::Task<> ServeAll();
  async::Task<Result<bool>> ReadHead();
  async::Task<bool> ServeOne();
  async::Task<> WatchDeadline();
  // What is read from now on must come within that time.
  void SetDeadline(std::chrono::milliseconds limit);
  void WatchHangup(std::function<void()> gone);
  void TellGone();
  void ClearDeadline() { deadline_ = Clock::time_point::max(); }
  async::Task<> Refuse(Error error);
  async::Task<> Linger();
  async::Task<Result<size_t>> TimedRead(std::span<char> out);

  async::Stream stream_;
  const Handler& handler_;
  const ServerOptions& options_;
  const std::atomic<bool>* draining_;
  ReadBuffer buffer_;
  std::string peer_;  // once somebody has asked
  async::Alarm alarm_;
  Clock::time_point deadline_ = Clock::time_point::max();
  std::function<void()> gone_;    // told when the client leaves
  Clock::time_point gone_since_;  // looked for from then on
  std::unique_ptr<async::Stream::HangupWatch> watch_;
  bool late_ = false;  // the last deadline has passed
  bool idle_ = true;
  bool first_ = true;  // no request has been served yet
  std::chrono::steady_clock::time_point born_ = std::chrono::steady_clock::now();
};

}  // namespace atl::http
