// SPDX-License-Identifier: Apache-2.0
#include "egress/network_setup.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "egress/ruleset.h"
#include "sys/namespace.h"

namespace atl::egress {
namespace {

constexpr int kBacklog = 1024;

struct Bound {
  sys::Fd fd;
  uint16_t port = 0;
};

// A redirection in the output path always leads to 127.0.0.1, so nothing else needs to listen.
Result<Bound> BindLoopback(int type) {
  Bound bound;
  bound.fd = sys::Fd(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!bound.fd) return FailErrno(errno, "opening a listener inside a sandbox");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (::bind(bound.fd.get(), plain, size) < 0) {
    return FailErrno(errno, "binding a listener inside a sandbox");
  }
  if (type == SOCK_STREAM && ::listen(bound.fd.get(), kBacklog) < 0) {
    return FailErrno(errno, "listening inside a sandbox");
  }
  if (::getsockname(bound.fd.get(), plain, &size) < 0) {
    return FailErrno(errno, "asking for the port of a listener inside a sandbox");
  }
  bound.port = ntohs(address.sin_port);
  return bound;
}

// Without the sysctl (IPv6 absent, /proc/sys read-only) the packet filter's refusal stands alone.
void TurnIpv6Off() {
  for (const char* which : {"all", "default"}) {
    static_cast<void>(
        sys::WriteFile(std::string("/proc/sys/net/ipv6/conf/") + which + "/disable_ipv6", "1"));
  }
}

Result<NetworkListeners> SetUpHere(const NetworkSpec& spec) {
  TurnIpv6Off();
  TRY(BringLoopbackUp());
  ASSIGN(Bound tcp, BindLoopback(SOCK_STREAM));
  ASSIGN(Bound dns, BindLoopback(SOCK_DGRAM));
  RulesetSpec rules{spec.refused, spec.host_ports, tcp.port, dns.port};
  // Rules before the route: there is no moment in which anything could get around them.
  TRY(ApplyRuleset(RulesetText(rules)));
  TRY(AddLocalRoute(0, 0, RT_TABLE_LOCAL));
  return NetworkListeners{std::move(tcp.fd), std::move(dns.fd)};
}

}  // namespace

Result<NetworkListeners> SetUpNetwork(const sys::Fd& netns, const NetworkSpec& spec) {
  auto set_up = [&spec] { return SetUpHere(spec); };
  return sys::RunInNetworkNamespace(netns.get(), set_up);
}

}  // namespace atl::egress
