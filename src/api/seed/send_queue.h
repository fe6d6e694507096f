// SPDX-License-Identifier: Apache-2.0
// What is on its way to a client that takes a stream.
#pragma once

#include <memory>
#include <string>

#include "async/mutex.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

// While one buffer is being sent the other one fills, so pieces that come quickly go out together,
// and the first one goes out at once. Both ends run on one shard.
class SendQueue {
 public:
  explicit SendQueue(http::Exchange& exchange) : exchange_(exchange) {}

  // For appending; tell with Put or Close.
  std::string& pending() { return pending_; }
  // Something was appended. Returns when more may be; a failure when the client takes no more.
  async::Task<Result<void>> Put();
  // Nothing more comes.
  void Close();
  // Sends until everything is sent and nothing more comes.
  async::Task<> Send();
  // Everything was sent.
  bool complete() const { return complete_; }

 private:
  http::Exchange& exchange_;
  std::string pending_;
  std::string sending_;
  std::shared_ptr<async::Event> more_;  // the sender waits for something to send
  std::shared_ptr<async::Event> room_;  // who puts waits for the client
  bool closed_ = false;
  bool failed_ = false;
  bool complete_ = false;
};

// Ends the answer as it deserves: an incomplete one must not look like the whole.
async::Task<> FinishStream(http::Exchange& exchange, bool complete);

}  // namespace atl::api
