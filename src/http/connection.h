// SPDX-License-Identifier: Apache-2.0
// One connection of the server: reads requests one after the other and lets a handler answer them.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

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

  async::Task<Result<bool>> ReadHead();
  async::Task<> FillHead(Result<bool>& result);
  async::Task<bool> ServeOne();
  async::Task<> Refuse(Error error);
  async::Task<> Linger();
  async::Task<Result<size_t>> TimedRead(std::span<char> out);

  async::Stream stream_;
  const Handler& handler_;
  const ServerOptions& options_;
  const std::atomic<bool>* draining_;
  ReadBuffer buffer_;
  bool idle_ = true;
  bool first_ = true;  // no request has been served yet
  std::chrono::steady_clock::time_point born_ = std::chrono::steady_clock::now();
};

}  // namespace atl::http
