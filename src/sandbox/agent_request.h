// SPDX-License-Identifier: Apache-2.0
// One request to an agent, which may be older than the request is, and its answer.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "protocol/exec.h"
#include "sandbox/agent_connection.h"

namespace atl::sandbox {

inline constexpr std::chrono::milliseconds kAgentAnswerLimit{30'000};

template <class Reply, class Request>
async::Task<Result<Reply>> AskAgent(std::string socket_path, const Request& request,
                                    std::chrono::milliseconds limit = kAgentAnswerLimit) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(limit));
  co_return ExpectFromAgent<Reply>(frame);
}

// Items until Ok; far more than an honest agent has is an error.
template <class Item, class Request>
async::Task<Result<std::vector<Item>>> ListFromAgent(std::string socket_path,
                                                     const Request& request) {
  constexpr size_t kMost = 4096;
  constexpr size_t kMostBytes = 16UL << 20U;
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  std::vector<Item> all;
  size_t bytes = 0;
  while (all.size() <= kMost && bytes <= kMostBytes) {
    CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kAgentAnswerLimit));
    if (frame.type == protocol::FrameType::kOk) co_return all;
    bytes += frame.payload.size();
    CO_ASSIGN(Item item, ExpectFromAgent<Item>(frame));
    all.push_back(std::move(item));
  }
  co_return Fail(Code::kInternal, "the agent lists more than it can have");
}

}  // namespace atl::sandbox
