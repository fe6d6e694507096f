// SPDX-License-Identifier: Apache-2.0
// What is on its way to the client: one frame at a time, in one buffer. While it is not empty
// nothing more is read from the program, so memory stays bounded and a slow client slows the
// program down.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string_view>

#include "protocol/messages.h"

namespace atl::agent {

class Outbox {
 public:
  static constexpr size_t kDataBytes = 256U << 10U;

  explicit Outbox(int socket);

  bool empty() const { return begin_ == end_; }
  // These want an empty outbox.
  // One read from `fd` as a data frame; what read() returned.
  ssize_t ReadFrom(int fd, protocol::FrameType type);
  Result<void> PutFrame(std::string_view frame);
  template <class M>
  Result<void> Put(const M& message) {
    ASSIGN(std::string frame, protocol::Encode(message));
    return PutFrame(frame);
  }

  // Nobody will take what is in it.
  void Discard() { begin_ = end_ = 0; }

  // Sends what the socket takes without waiting.
  Result<void> Flush();
  // Sends everything, waiting as long as the client takes.
  Result<void> FlushAll();

 private:
  int socket_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

// One recv that does not wait, into `parser`. False when the client is gone or broke the stream.
bool ReceiveSome(int socket, protocol::FrameParser* parser);

}  // namespace atl::agent
