// SPDX-License-Identifier: Apache-2.0
#include "egress/netlink.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "sys/fd.h"

namespace atl::egress {
namespace {

struct RouteRequest {
  nlmsghdr header;
  rtmsg route;
  std::array<char, 64> attributes;
};

void AddAttribute(RouteRequest& request, unsigned short type, uint32_t value) {
  rtattr attribute{.rta_len = RTA_LENGTH(sizeof value), .rta_type = type};
  char* end = reinterpret_cast<char*>(&request) + NLMSG_ALIGN(request.header.nlmsg_len);
  std::memcpy(end, &attribute, sizeof attribute);
  std::memcpy(end + RTA_LENGTH(0), &value, sizeof value);
  request.header.nlmsg_len = NLMSG_ALIGN(request.header.nlmsg_len) + RTA_LENGTH(sizeof value);
}

Result<sys::Fd> OpenRouteSocket() {
  sys::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return FailErrno(errno, "opening a netlink socket");
  // Nothing but a bug keeps the kernel from answering: never hang a thread on it.
  timeval limit{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  // Lets the kernel filter a dump by table, which matters on hosts with many routes.
  int on = 1;
  ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return fd;
}

Result<void> SendRequest(const sys::Fd& fd, const RouteRequest& request) {
  if (::send(fd.get(), &request, request.header.nlmsg_len, 0) < 0) {
    return FailErrno(errno, "sending a netlink request");
  }
  return {};
}

// Appends the range of a route of type local or broadcast in the table local.
void CollectRange(const nlmsghdr* message, std::vector<Range>& ranges) {
  const auto* route = static_cast<const rtmsg*>(NLMSG_DATA(message));
  if (route->rtm_family != AF_INET || route->rtm_dst_len > 32) return;
  if (route->rtm_type != RTN_LOCAL && route->rtm_type != RTN_BROADCAST) return;
  uint32_t table = route->rtm_table;
  uint32_t address = 0;
  auto left = static_cast<int>(RTM_PAYLOAD(message));
  for (const rtattr* a = RTM_RTA(route); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (RTA_PAYLOAD(a) < sizeof(uint32_t)) continue;
    if (a->rta_type == RTA_DST) std::memcpy(&address, RTA_DATA(a), sizeof address);
    if (a->rta_type == RTA_TABLE) std::memcpy(&table, RTA_DATA(a), sizeof table);
  }
  if (table != RT_TABLE_LOCAL) return;
  uint32_t host_bits = route->rtm_dst_len == 32 ? 0 : (~uint32_t{0} >> route->rtm_dst_len);
  uint32_t first = ntohl(address) & ~host_bits;
  ranges.push_back(Range{first, first | host_bits});
}

// Handles one datagram of answers; true when it was the last.
Result<bool> HandleAnswers(std::span<char> data, std::vector<Range>* ranges) {
  auto left = static_cast<unsigned>(data.size());
  for (auto* message = reinterpret_cast<nlmsghdr*>(data.data()); NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left)) {
    if (message->nlmsg_type == NLMSG_DONE) return true;
    if (message->nlmsg_type == NLMSG_ERROR) {
      const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
      if (error->error != 0) return FailErrno(-error->error, "a netlink request");
      return true;
    }
    if (message->nlmsg_type == RTM_NEWROUTE && ranges != nullptr) CollectRange(message, *ranges);
  }
  return false;
}

Result<void> Converse(const RouteRequest& request, std::vector<Range>* ranges) {
  ASSIGN(sys::Fd fd, OpenRouteSocket());
  TRY(SendRequest(fd, request));
  alignas(nlmsghdr) std::array<char, 32768> buffer;
  while (true) {
    ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "reading a netlink answer");
    if (n == 0) return Fail(Code::kInternal, "the kernel closed a netlink socket");
    std::span<char> answers(buffer.data(), static_cast<size_t>(n));
    ASSIGN(bool last, HandleAnswers(answers, ranges));
    if (last) return {};
  }
}

}  // namespace

Result<void> BringLoopbackUp() {
  sys::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return FailErrno(errno, "opening a socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (::ioctl(fd.get(), SIOCGIFFLAGS, &request) < 0) {
    return FailErrno(errno, "reading the flags of lo");
  }
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) < 0) return FailErrno(errno, "bringing lo up");
  return {};
}

Result<void> AddLocalRoute(uint32_t address, int bits, uint32_t table) {
  RouteRequest request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(rtmsg));
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  request.route.rtm_family = AF_INET;
  request.route.rtm_dst_len = static_cast<unsigned char>(bits);
  request.route.rtm_table = static_cast<unsigned char>(table);
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_scope = RT_SCOPE_HOST;
  request.route.rtm_type = RTN_LOCAL;
  if (bits > 0) AddAttribute(request, RTA_DST, htonl(address));
  uint32_t loopback = ::if_nametoindex("lo");
  if (loopback == 0) return FailErrno(errno, "looking for lo");
  AddAttribute(request, RTA_OIF, loopback);
  return Converse(request, nullptr);
}

Result<std::vector<Range>> LocalRanges() {
  RouteRequest request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(rtmsg));
  request.header.nlmsg_type = RTM_GETROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.route.rtm_family = AF_INET;
  request.route.rtm_table = RT_TABLE_LOCAL;
  std::vector<Range> ranges;
  TRY(Converse(request, &ranges));
  return ranges;
}

}  // namespace atl::egress
