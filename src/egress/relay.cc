// SPDX-License-Identifier: Apache-2.0
#include "egress/relay.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "egress/dns_service.h"
#include "http/server.h"
#include "metrics/atoll.h"

namespace atl::egress {
namespace {

constexpr int kMaxConnections = 1024;
constexpr std::chrono::milliseconds kDialTimeout{10'000};
// As long as an ssh session or a websocket may well be silent.
constexpr std::chrono::milliseconds kRelayIdle{2 * 60 * 60 * 1000};
constexpr int kOriginalDestination = 80;  // SO_ORIGINAL_DST, whose header clashes with libc's
constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kDnsPort = 53;

struct Destination {
  uint32_t address = 0;
  uint16_t port = 0;
};

// Where the sandbox wanted to go before the connection was redirected.
Result<Destination> OriginalDestination(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockopt(fd, IPPROTO_IP, kOriginalDestination, &address, &size) < 0) {
    return FailErrno(errno, "asking where a connection was to go");
  }
  return Destination{ntohl(address.sin_addr.s_addr), ntohs(address.sin_port)};
}

// The next close sends a reset: what a connection to a closed port would have got.
void ArmReset(int fd) {
  linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

// Notices a peer that has vanished without a word.
void KeepAlive(int fd) {
  int on = 1;
  int idle_seconds = 60;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
}

async::Task<Result<async::Stream>> DialHostLoopback(uint16_t port) {
  async::Endpoint v4{"127.0.0.1", port};
  Result<async::Stream> stream = co_await async::ConnectTcp(std::move(v4), kDialTimeout);
  if (stream) co_return stream;
  // Development servers that listen on "localhost" are often on this one alone.
  async::Endpoint v6{"::1", port};
  Result<async::Stream> second = co_await async::ConnectTcp(std::move(v6), kDialTimeout);
  if (second) co_return second;
  co_return stream;
}

async::Task<Result<async::Stream>> Dial(Link& link, Destination to) {
  if (to.address == kHostAddress) {
    const std::vector<uint16_t>& open = link.world->options.host_ports;
    if (std::find(open.begin(), open.end(), to.port) == open.end()) {
      co_return Fail(Code::kPermissionDenied, fmt::format("host port {} is not open", to.port));
    }
    Result<async::Stream> stream = co_await DialHostLoopback(to.port);
    co_return stream;
  }
  // The packet filter has refused these already; it is not the one that has to be right.
  if (link.world->policy->Refuses(to.address)) {
    co_return Fail(Code::kPermissionDenied, FormatAddress(to.address) + " is refused");
  }
  async::Endpoint endpoint{FormatAddress(to.address), to.port};
  Result<async::Stream> stream = co_await async::ConnectTcp(std::move(endpoint), kDialTimeout);
  co_return stream;
}

async::Task<> ServeGateway(std::shared_ptr<Link> link, async::Stream stream) {
  http::Handler handler = [link](http::Exchange& exchange) {
    return link->world->gateway(link->iid, exchange);
  };
  http::ServerOptions options;
  co_await http::ServeConnection(std::move(stream), std::move(handler), options);
}

async::Task<> Route(std::shared_ptr<Link> link, async::Stream stream) {
  Result<Destination> to = OriginalDestination(stream.fd());
  if (!to) {
    // Somebody inside found the listener's own port.
    ArmReset(stream.fd());
    co_return;
  }
  // As for UDP, DNS goes to the resolver whomever it is addressed to.
  if (to->port == kDnsPort && to->address != kHostAddress) {
    co_await ServeDnsTcp(link, std::move(stream));
    co_return;
  }
  if (to->address == kGatewayAddress && to->port == kHttpPort) {
    co_await ServeGateway(link, std::move(stream));
    co_return;
  }
  Result<async::Stream> upstream = co_await Dial(*link, *to);
  if (!upstream) {
    log::Debug("sandbox {}: {}:{}: {}", link->iid, FormatAddress(to->address), to->port,
               upstream.error().message);
    bool refused = upstream.error().code == Code::kPermissionDenied;
    metrics::Get().egress_connections.With({refused ? "refused" : "failed"}).Add();
    ArmReset(stream.fd());
    co_return;
  }
  metrics::Get().egress_connections.With({"ok"}).Add();
  metrics::Held open(metrics::Get().egress_open);
  KeepAlive(upstream->fd());
  async::RelayCounts counts{.a_to_b = &link->sent_bytes, .b_to_a = &link->received_bytes};
  async::Relayed relayed = co_await async::Relay(stream, *upstream, kRelayIdle, counts);
  metrics::Get().egress_bytes.With({"sent"}).Add(relayed.a_to_b);
  metrics::Get().egress_bytes.With({"received"}).Add(relayed.b_to_a);
}

async::Task<> ServeOne(std::shared_ptr<Link> link, sys::Fd fd) {
  Counted counted(link->connections);
  async::Executor executor = co_await async::ThisExecutor();
  async::Stream stream(executor, std::move(fd));
  co_await async::Race(Route(link, std::move(stream)), link->closing.Wait());
}

async::Task<> Accept(std::shared_ptr<Link> link, async::Listener& listener) {
  async::Executor executor = co_await async::ThisExecutor();
  while (true) {
    Result<sys::Fd> fd = co_await listener.Accept();
    if (!fd) {
      if (fd.error().code == Code::kCancelled) co_return;
      log::Error("sandbox {}: accepting its connections: {}", link->iid, fd.error().message);
      co_return;
    }
    if (link->connections >= kMaxConnections) {
      ArmReset(fd->get());
      continue;
    }
    async::Spawn(executor, ServeOne(link, *std::move(fd)), "serving a sandbox's connection");
  }
}

}  // namespace

async::Task<> ServeConnections(std::shared_ptr<Link> link, async::Listener listener) {
  co_await async::Race(Accept(link, listener), link->closing.Wait());
}

}  // namespace atl::egress
