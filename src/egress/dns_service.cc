// SPDX-License-Identifier: Apache-2.0
#include "egress/dns_service.h"

#include <array>

#include "egress/dns_message.h"
#include "metrics/atoll.h"

namespace atl::egress {
namespace {

constexpr int kMaxLookups = 256;
constexpr std::chrono::milliseconds kTcpQuiet{10'000};
constexpr std::chrono::milliseconds kAfterError{50};
constexpr size_t kMaxQuery = 4096;

// The answer, or "server failure" at once where too many look-ups are under way.
async::Task<std::string> AnswerBounded(Link& link, std::string message, DnsTransport transport) {
  metrics::Get().dns_queries.Add();
  if (link.lookups >= kMaxLookups) {
    co_return dns::BuildRejection(message, dns::kServerFailure).value_or(std::string());
  }
  Counted counted(link.lookups);
  std::string reply = co_await link.world->resolver->Answer(std::move(message), transport);
  co_return reply;
}

async::Task<> AnswerDatagram(std::shared_ptr<Link> link, std::shared_ptr<async::Datagram> socket,
                             std::string message, async::Datagram::Peer peer) {
  std::string reply = co_await AnswerBounded(*link, std::move(message), DnsTransport::kUdp);
  if (!reply.empty() && !link->closing.is_set()) socket->SendTo(reply, peer);
}

async::Task<> ReceiveDatagrams(std::shared_ptr<Link> link,
                               std::shared_ptr<async::Datagram> socket) {
  async::Executor executor = co_await async::ThisExecutor();
  std::array<char, kMaxQuery> buffer;
  while (true) {
    async::Datagram::Peer peer;
    Result<size_t> n = co_await socket->ReceiveFrom(buffer, peer);
    if (!n) {
      if (n.error().code == Code::kCancelled) co_return;
      co_await async::Sleep(kAfterError);
      continue;
    }
    std::string message(buffer.data(), *n);
    async::Spawn(executor, AnswerDatagram(link, socket, std::move(message), peer),
                 "answering a DNS query");
  }
}

async::Task<> ReadExactly(async::Stream& stream, std::span<char> buffer, bool& complete) {
  while (!buffer.empty()) {
    Result<size_t> n = co_await stream.ReadSome(buffer);
    if (!n || *n == 0) co_return;
    buffer = buffer.subspan(*n);
  }
  complete = true;
}

// The next message, or an empty one at the end.
async::Task<std::string> ReadMessage(async::Stream& stream) {
  std::array<char, 2> prefix;
  bool complete = false;
  co_await async::WithTimeout(kTcpQuiet, ReadExactly(stream, prefix, complete));
  if (!complete) co_return std::string();
  size_t size = (static_cast<size_t>(static_cast<unsigned char>(prefix[0])) << 8U) |
                static_cast<unsigned char>(prefix[1]);
  if (size > kMaxQuery) co_return std::string();
  std::string message(size, '\0');
  complete = false;
  co_await async::WithTimeout(kTcpQuiet, ReadExactly(stream, message, complete));
  if (!complete) message.clear();
  co_return message;
}

async::Task<> WriteMessage(async::Stream& stream, std::string message, bool& complete) {
  std::string prefix = {static_cast<char>(message.size() >> 8U), static_cast<char>(message.size())};
  Result<void> written = co_await stream.Write2(prefix, message);
  complete = written.has_value();
}

}  // namespace

async::Task<> ServeDnsUdp(std::shared_ptr<Link> link, async::Datagram socket) {
  auto shared = std::make_shared<async::Datagram>(std::move(socket));
  co_await async::Race(ReceiveDatagrams(link, shared), link->closing.Wait());
  // Look-ups still under way hold the object, but the sandbox's socket must go now.
  shared->Close();
}

async::Task<> ServeDnsTcp(std::shared_ptr<Link> link, async::Stream stream) {
  while (true) {
    std::string message = co_await ReadMessage(stream);
    if (message.empty()) co_return;
    std::string reply = co_await AnswerBounded(*link, std::move(message), DnsTransport::kTcp);
    if (reply.empty()) co_return;
    bool complete = false;
    co_await async::WithTimeout(kTcpQuiet, WriteMessage(stream, std::move(reply), complete));
    if (!complete) co_return;
  }
}

}  // namespace atl::egress
