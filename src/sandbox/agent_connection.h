// SPDX-License-Identifier: Apache-2.0
// One connection to an agent: frames out, frames in, each checked.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "async/stream.h"
#include "async/task.h"
#include "protocol/messages.h"

namespace atl::sandbox {

class AgentConnection {
 public:
  // CONTAINER_UNAVAILABLE when nobody listens any more.
  static async::Task<Result<std::unique_ptr<AgentConnection>>> Open(std::string socket_path);

  explicit AgentConnection(async::Stream stream) : stream_(std::move(stream)) {}

  // Encodes and sends. Named messages only: the reference must live until the await ends.
  template <class M>
  async::Task<Result<void>> Send(const M& message) {
    CO_ASSIGN(std::string frame, protocol::Encode(message));
    Result<void> sent = co_await stream_.Write(frame);
    co_return sent;
  }
  // A data frame. `bytes` of any length are split.
  async::Task<Result<void>> SendData(protocol::FrameType type, std::string_view bytes);
  async::Task<Result<void>> SendEmpty(protocol::FrameType type);

  // The next frame after the Hello, which is checked and kept. The end of the stream is an error.
  // The payload is valid until the next call.
  async::Task<Result<protocol::Frame>> Next();
  // kUnavailable when it does not come in time; the connection is of no use then.
  async::Task<Result<protocol::Frame>> NextWithin(std::chrono::milliseconds limit);

  // From now on descriptors that the agent passes are kept; more than one is an error.
  void ExpectDescriptor() { expect_descriptor_ = true; }
  sys::Fd TakeDescriptor() { return std::move(descriptor_); }

  void Close() { stream_.Close(); }
  // The agent has closed its end, be it that it is gone; what it sent before may not be read yet.
  bool HungUp() const;

 private:
  async::Task<Result<size_t>> Fill();
  Result<void> CheckHello(const protocol::Frame& frame);

  async::Stream stream_;
  protocol::FrameParser parser_;
  bool greeted_ = false;
  bool expect_descriptor_ = false;
  sys::Fd descriptor_;
};

// What the agent says is wrong, made fit for logs and answers: it may be hostile.
Error CleanAgentError(Error error);

// AGENT_TOO_OLD: the sandbox was started by an earlier release.
Unexpected TooOld();

// The frame as an M, or the error that the agent sent instead. AGENT_TOO_OLD when it does not know
// what it was asked.
template <class M>
Result<M> ExpectFromAgent(const protocol::Frame& frame) {
  Result<M> message = protocol::Expect<M>(frame);
  if (!message && protocol::IsUnknownRequest(message.error())) return TooOld();
  if (!message) return Unexpected(CleanAgentError(std::move(message).error()));
  return message;
}

}  // namespace atl::sandbox
