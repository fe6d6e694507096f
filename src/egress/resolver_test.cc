// SPDX-License-Identifier: Apache-2.0
#include "egress/resolver.h"

#include <gtest/gtest.h>

#include "async/runtime.h"
#include "egress/test_nameserver.h"

namespace atl::egress {
namespace {

using namespace std::string_literals;

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
