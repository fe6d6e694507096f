// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_relay.h"

#include <poll.h>
#include <sys/socket.h>

#include <vector>

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr size_t kPieceBytes = 64U << 10U;
constexpr std::chrono::milliseconds kHangupPoll{1'000};

struct Relay {
  std::unique_ptr<AgentConnection> connection;
  async::Stream near;  // our end of the pair whose other end the caller has
  bool incoming_ended = false;
};

bool CallerIsGone(const async::Stream& near) {
  pollfd poll{.fd = near.fd(), .events = 0, .revents = 0};
  return ::poll(&poll, 1, 0) > 0 && (poll.revents & (POLLHUP | POLLERR)) != 0;
}

async::Task<> Outgoing(Relay& relay) {
  std::vector<char> buffer(kPieceBytes);
  while (true) {
    Result<size_t> n = co_await relay.near.ReadSome(buffer);
    if (!n) break;
    if (*n > 0) {
      std::string_view piece(buffer.data(), *n);
      Result<void> sent = co_await relay.connection->SendData(FrameType::kRelay, piece);
      if (!sent) break;
      continue;
    }
    Result<void> ended = co_await relay.connection->SendEmpty(FrameType::kRelayEnd);
    if (!ended) break;
    // The caller has sent everything; it may still listen, until it closes its end.
    while (!relay.incoming_ended && !CallerIsGone(relay.near)) co_await async::Sleep(kHangupPoll);
    if (relay.incoming_ended) co_return;
    break;
  }
  relay.connection->Close();
  relay.near.Close();
}

async::Task<> Incoming(Relay& relay) {
  while (true) {
    Result<protocol::Frame> frame = co_await relay.connection->Next();
    if (frame && frame->type == FrameType::kRelayEnd) {
      relay.near.ShutdownWrite();
      break;
    }
    if (!frame || frame->type != FrameType::kRelay) {
      relay.near.Close();
      break;
    }
    Result<void> written = co_await relay.near.Write(frame->payload);
    if (!written) {
      relay.connection->Close();
      break;
    }
  }
  relay.incoming_ended = true;
}

async::Task<> Run(std::unique_ptr<Relay> relay) {
  co_await async::Both(Outgoing(*relay), Incoming(*relay));
}

}  // namespace

Result<async::Stream> StartRelay(const async::Executor& executor,
                                 std::unique_ptr<AgentConnection> connection) {
  ASSIGN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
  std::unique_ptr<Relay> relay(new Relay{.connection = std::move(connection),
                                         .near = async::Stream(executor, std::move(pair.first))});
  async::Stream far(executor, std::move(pair.second));
  async::Spawn(executor, Run(std::move(relay)), "relay a connection into a sandbox");
  return far;
}

}  // namespace atl::sandbox
