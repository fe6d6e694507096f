// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_client.h"
#include "sandbox/agent_connection.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

Result<TarTotals> ToTotals(const protocol::Frame& frame) {
  ASSIGN(auto end, ExpectFromAgent<protocol::End>(frame));
  return TarTotals{.files = end.files, .bytes = end.bytes};
}

// Passes on what `source` yields. False when the agent takes no more: it has said why.
async::Task<Result<bool>> SendArchive(AgentConnection& connection,
                                      const AgentClient::TarSource& source) {
  while (true) {
    Result<std::string_view> piece = co_await source();
    if (!piece) co_return Unexpected(std::move(piece).error());
    if (piece->empty()) break;
    Result<void> sent = co_await connection.SendData(FrameType::kTar, *piece);
    if (!sent && sent.error().code == Code::kCancelled) co_return Unexpected(sent.error());
    if (!sent) co_return false;
  }
  Result<void> ended = co_await connection.SendEmpty(FrameType::kTarEnd);
  co_return ended.has_value();
}

}  // namespace

async::Task<Result<TarTotals>> AgentClient::TarOut(std::string dir, TarSink sink) {
  protocol::TarOut request{.dir = std::move(dir)};
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(socket_path_));
  CO_TRY(co_await connection->Send(request));
  while (true) {
    CO_ASSIGN(protocol::Frame frame, co_await connection->Next());
    if (frame.type != FrameType::kTar) co_return ToTotals(frame);
    CO_TRY(co_await sink(frame.payload));
  }
}

async::Task<Result<TarTotals>> AgentClient::TarIn(std::string dir, TarSource source) {
  protocol::TarIn request{.dir = std::move(dir)};
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(socket_path_));
  CO_TRY(co_await connection->Send(request));
  // When the source fails, the connection ends without kTarEnd: the directory stays as it was.
  CO_TRY(co_await SendArchive(*connection, source));
  CO_ASSIGN(protocol::Frame frame, co_await connection->Next());
  co_return ToTotals(frame);
}

}  // namespace atl::sandbox
