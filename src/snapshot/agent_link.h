// SPDX-License-Identifier: Apache-2.0
// One connection to the agent for blocking code: every wait ends when the agent has been silent for
// too long (kTimeout) or when the caller is asked to stop (kCancelled). For one thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>

#include "base/result.h"
#include "protocol/messages.h"
#include "sys/fd.h"

namespace atl::snapshot {

// What an agent says that no agent would say: kBadGateway, INVALID_FRAME.
Unexpected BadAgent(std::string_view why);

class AgentLink {
 public:
  using Connect = std::function<Result<sys::Fd>()>;
  // Connects and reads Hello.
  static Result<std::unique_ptr<AgentLink>> Open(const Connect& connect,
                                                 std::chrono::milliseconds idle_limit,
                                                 std::stop_token stop);
  AgentLink(const AgentLink&) = delete;
  AgentLink& operator=(const AgentLink&) = delete;

  // When the agent has given up the operation, it says why before it closes: a failed send is
  // followed up by reading until its Error, so that this is what the caller gets.
  template <class M>
  Result<void> Send(const M& message) {
    ASSIGN(std::string frame, protocol::Encode(message));
    return SendParts(frame, {});
  }
  Result<void> SendData(protocol::FrameType type, std::string_view payload);

  // The next frame, valid until the next call of these or a send that fails. An Error frame is that
  // error.
  Result<protocol::Frame> Next();
  // The same, from what has come by now.
  Result<std::optional<protocol::Frame>> Poll();
  template <class M>
  Result<M> Expect() {
    ASSIGN(protocol::Frame frame, Next());
    return protocol::Expect<M>(frame);
  }

 private:
  AgentLink(sys::Fd socket, std::chrono::milliseconds idle_limit, std::stop_token stop);

  Result<void> SendParts(std::string_view first, std::string_view second);
  // Until one of `events` is there.
  Result<void> Wait(short events);
  // One recv. Nothing came: 0 bytes are not an end here.
  enum class Received : uint8_t { kBytes, kNothing, kEnd };
  Result<Received> Receive();
  Result<std::optional<protocol::Frame>> Buffered();
  Error WhyClosed();

  struct Waker {
    int fd;
    void operator()() const;
  };

  sys::Fd socket_;
  sys::Fd wake_;
  std::chrono::milliseconds idle_limit_;
  std::stop_token stop_;
  protocol::FrameParser parser_;
  std::optional<std::stop_callback<Waker>> on_stop_;
};

}  // namespace atl::snapshot
