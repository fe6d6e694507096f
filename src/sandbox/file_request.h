// SPDX-License-Identifier: Apache-2.0
// One request about files and its answer.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "protocol/files.h"
#include "sandbox/agent_connection.h"

namespace atl::sandbox {

// Whoever waits for a disk inside waits with it.
inline constexpr std::chrono::milliseconds kFileLimit{60'000};
// Of what takes a whole tree.
inline constexpr std::chrono::milliseconds kTreeLimit{3'600'000};

// What the agent answers, or why it does not: one that is older than the request says so.
Error FileRequestError(Error error);

template <class Reply>
Result<Reply> ExpectFileReply(const protocol::Frame& frame) {
  Result<Reply> reply = ExpectFromAgent<Reply>(frame);
  if (!reply) return Unexpected(FileRequestError(std::move(reply).error()));
  return reply;
}

template <class Request>
async::Task<Result<std::unique_ptr<AgentConnection>>> BeginFileRequest(std::string socket_path,
                                                                       const Request& request) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  connection->ExpectDescriptor();
  CO_TRY(co_await connection->Send(request));
  co_return connection;
}

template <class Reply, class Request>
async::Task<Result<Reply>> AskForFile(std::string socket_path, const Request& request,
                                      std::chrono::milliseconds limit = kFileLimit) {
  CO_ASSIGN(auto connection, co_await BeginFileRequest(std::move(socket_path), request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(limit));
  co_return ExpectFileReply<Reply>(frame);
}

}  // namespace atl::sandbox
