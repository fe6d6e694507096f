// SPDX-License-Identifier: Apache-2.0
#include "egress/resolver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "async/runtime.h"
#include "egress/test_support.h"

namespace atl::egress {
namespace {

using namespace std::string_literals;

std::string NameOf(std::string_view dotted) {
  std::string out;
  while (!dotted.empty()) {
    std::string_view label = dotted.substr(0, dotted.find('.'));
    out += static_cast<char>(label.size());
    out += label;
    dotted.remove_prefix(std::min(label.size() + 1, dotted.size()));
  }
  return out + '\0';
}

std::string QueryFor(std::string_view name, uint16_t type = dns::kA) {
  dns::Question question;
  question.wire = NameOf(name) + '\0' + static_cast<char>(type) + "\0\1"s;
  return dns::BuildQuery(0x4242, question, false);
}

// A nameserver on loopback, UDP and TCP on one port. `script` makes the answers to a message; they
// are sent in order.
class Nameserver {
 public:
  using Script = std::function<std::vector<std::string>(const std::string&, bool tcp)>;
  explicit Nameserver(Script script)
      : script_(std::move(script)),
        udp_(BindLoopbackSocket(SOCK_DGRAM)),
        tcp_(BindLoopbackSocket(SOCK_STREAM, PortOf(udp_))),
        udp_thread_([this] { ServeUdp(); }),
        tcp_thread_([this] { ServeTcp(); }) {}
  ~Nameserver() {
    stopping_ = true;
    ConnectLoopback(port());
    sockaddr_in address = LoopbackAddress(port());
    sys::Fd wake(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ::sendto(wake.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address);
    udp_thread_.join();
    tcp_thread_.join();
  }
  uint16_t port() const { return PortOf(udp_); }
  async::Endpoint endpoint() const { return {"127.0.0.1", port()}; }
  int asked() const { return asked_; }

 private:
  void ServeUdp() {
    std::array<char, 4096> buffer;
    while (true) {
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto* plain = reinterpret_cast<sockaddr*>(&from);
      ssize_t n = ::recvfrom(udp_.get(), buffer.data(), buffer.size(), 0, plain, &size);
      if (stopping_) return;
      if (n <= 0) continue;
      ++asked_;
      for (const std::string& text : script_(std::string(buffer.data(), size_t(n)), false)) {
        ::sendto(udp_.get(), text.data(), text.size(), 0, plain, size);
      }
    }
  }
  void ServeTcp() {
    while (true) {
      sys::Fd fd = AcceptOne(tcp_);
      if (stopping_) return;
      std::array<char, 4096> buffer;
      ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
      if (n < 2) continue;
      for (const std::string& text : script_(std::string(buffer.data() + 2, size_t(n) - 2), true)) {
        SendText(fd,
                 std::string{static_cast<char>(text.size() >> 8U), static_cast<char>(text.size())} +
                     text);
      }
    }
  }

  Script script_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> asked_ = 0;
  sys::Fd udp_;
  sys::Fd tcp_;
  std::thread udp_thread_;
  std::thread tcp_thread_;
};

std::string Addresses(const std::string& query, const std::vector<uint32_t>& addresses) {
  return dns::BuildReply(*dns::ParseQuery(query), dns::kNoError, addresses);
}

dns::Answer AskThrough(std::vector<async::Endpoint> servers, std::string query,
                       DnsTransport transport = DnsTransport::kUdp) {
  auto policy = Policy::Make({});
  EXPECT_TRUE(policy);
  Resolver resolver(std::move(servers), *policy, "/nonexistent");
  std::string reply;
  auto ask = [](Resolver& through, std::string text, DnsTransport over,
                std::string& out) -> async::Task<> {
    out = co_await through.Answer(std::move(text), over);
  };
  async::RunToEnd(ask(resolver, std::move(query), transport, reply));
  Result<dns::Answer> answer = dns::ParseAnswer(reply);
  EXPECT_TRUE(answer);
  EXPECT_EQ(answer->id, 0x4242);
  return answer.value_or(dns::Answer{});
}

TEST(Resolver, AnswersItsOwnNamesWithoutAsking) {
  EXPECT_EQ(AskThrough({}, QueryFor("Gateway.Atoll")).addresses,
            std::vector<uint32_t>{kGatewayAddress});
  EXPECT_EQ(AskThrough({}, QueryFor("host.atoll")).addresses, std::vector<uint32_t>{kHostAddress});
  EXPECT_EQ(AskThrough({}, QueryFor("other.atoll")).rcode, dns::kNameError);
  EXPECT_EQ(AskThrough({}, QueryFor("1.0.0.10.in-addr.arpa", dns::kPtr)).rcode, dns::kNameError);
  dns::Answer none = AskThrough({}, QueryFor("host.atoll", dns::kAaaa));
  EXPECT_EQ(none.rcode, dns::kNoError);
  EXPECT_EQ(none.record_count, 0);
}

TEST(Resolver, SaysThatThereIsNoIpv6WithoutAsking) {
  for (uint16_t type : {dns::kAaaa, dns::kHttps, dns::kSvcb}) {
    dns::Answer answer = AskThrough({}, QueryFor("example.org", type));
    EXPECT_EQ(answer.rcode, dns::kNoError);
    EXPECT_EQ(answer.record_count, 0);
  }
}

TEST(Resolver, ForwardsTheAnswer) {
  Nameserver server([](const std::string& query, bool) {
    return std::vector{Addresses(query, {0x08080808, 0x01010101})};
  });
  dns::Answer answer = AskThrough({server.endpoint()}, QueryFor("example.org"));
  EXPECT_EQ(answer.rcode, dns::kNoError);
  EXPECT_EQ(answer.addresses, (std::vector<uint32_t>{0x08080808, 0x01010101}));
}

TEST(Resolver, RefusesAnswersThatPointInside) {
  for (uint32_t inside : {0x7F000001U, 0x0A000001U, 0xA9FEA9FEU, 0xC0A80001U, 0xC6120001U}) {
    Nameserver server([&](const std::string& query, bool) {
      return std::vector{Addresses(query, {0x08080808, inside})};
    });
    dns::Answer answer = AskThrough({server.endpoint()}, QueryFor("rebind.example.org"));
    EXPECT_EQ(answer.rcode, dns::kRefused) << FormatAddress(inside);
    EXPECT_EQ(answer.record_count, 0);
  }
}

TEST(Resolver, IgnoresForgedAnswers) {
  Nameserver server([](const std::string& query, bool) {
    std::string wrong_id = Addresses(query, {0x09090909});
    wrong_id[0] = static_cast<char>(wrong_id[0] ^ 1);
    dns::Query other = *dns::ParseQuery(QueryFor("other.example.org"));
    other.id = dns::ParseQuery(query)->id;
    return std::vector{wrong_id, dns::BuildReply(other, dns::kNoError, {0x09090909}), "garbage"s,
                       Addresses(query, {0x08080808})};
  });
  dns::Answer answer = AskThrough({server.endpoint()}, QueryFor("example.org"));
  EXPECT_EQ(answer.addresses, std::vector<uint32_t>{0x08080808});
}

TEST(Resolver, AsksTheNextServerWhenOneIsDeadOrUnhelpful) {
  uint16_t closed = 0;
  {
    sys::Fd fd = BindLoopbackSocket(SOCK_DGRAM);
    closed = PortOf(fd);
  }
  Nameserver unhelpful([](const std::string& query, bool) {
    return std::vector{dns::BuildReply(*dns::ParseQuery(query), dns::kServerFailure)};
  });
  Nameserver good(
      [](const std::string& query, bool) { return std::vector{Addresses(query, {0x08080808})}; });
  std::vector<async::Endpoint> servers = {
      {"127.0.0.1", closed}, unhelpful.endpoint(), good.endpoint()};
  EXPECT_EQ(AskThrough(servers, QueryFor("example.org")).addresses,
            std::vector<uint32_t>{0x08080808});
  EXPECT_EQ(AskThrough({unhelpful.endpoint()}, QueryFor("example.org")).rcode, dns::kServerFailure);
}

TEST(Resolver, GoesOverToTcpForLongAnswers) {
  std::vector<uint32_t> many(100, 0x08080808);
  Nameserver server([&](const std::string& query, bool tcp) {
    if (tcp) return std::vector{Addresses(query, many)};
    return std::vector{dns::BuildTruncated(*dns::ParseQuery(query))};
  });
  dns::Answer cut = AskThrough({server.endpoint()}, QueryFor("example.org"));
  EXPECT_TRUE(cut.truncated) << "1.6 KB do not fit into a client's 512 bytes";
  dns::Answer whole = AskThrough({server.endpoint()}, QueryFor("example.org"), DnsTransport::kTcp);
  EXPECT_EQ(whole.addresses.size(), many.size());
}

TEST(Resolver, DoesWithoutEdnsWhereAServerDoesNotKnowIt) {
  Nameserver server([](const std::string& query, bool) {
    if (dns::ParseQuery(query)->edns) {
      return std::vector{*dns::BuildRejection(query, dns::kFormatError)};
    }
    return std::vector{Addresses(query, {0x08080808})};
  });
  EXPECT_EQ(AskThrough({server.endpoint()}, QueryFor("example.org")).addresses,
            std::vector<uint32_t>{0x08080808});
}

TEST(Resolver, IsNeverSilent) {
  EXPECT_EQ(AskThrough({}, QueryFor("example.org")).rcode, dns::kServerFailure);
  Nameserver silent([](const std::string&, bool) { return std::vector<std::string>(); });
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(AskThrough({silent.endpoint()}, QueryFor("example.org")).rcode, dns::kServerFailure);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(6));
  EXPECT_GE(silent.asked(), 2) << "a lost datagram is worth a second try";
}

TEST(Nameservers, ReadsResolvConf) {
  auto servers = ParseResolvConf(
      "# nameserver 1.1.1.1\nsearch x\n nameserver\t127.0.0.53 \r\nnameserver fe80::1%eth0\n"
      "nameserver\noptions ndots:2\nnameserver 9.9.9.9");
  ASSERT_EQ(servers.size(), 3U);
  EXPECT_EQ(servers[0].address, "127.0.0.53");
  EXPECT_EQ(servers[0].port, 53);
  EXPECT_EQ(servers[1].address, "fe80::1%eth0");
  EXPECT_EQ(servers[2].address, "9.9.9.9");
}

}  // namespace
}  // namespace atl::egress
