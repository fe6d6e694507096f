// SPDX-License-Identifier: Apache-2.0
#include "egress/policy.h"

#include <gtest/gtest.h>

#include "egress/ruleset.h"

namespace atl::egress {
namespace {

uint32_t Address(const std::string& text) { return ParseRange(text)->first; }

struct Case {
  const char* address;
  bool refused;
};

TEST(Policy, RefusesWhatIsNotThePublicInternet) {
  auto policy = Policy::Make({"45.0.0.0/8", "8.8.4.4"});
  ASSERT_TRUE(policy) << policy.error().message;
  constexpr Case kCases[] = {
      {"0.0.0.0", true},         {"0.1.2.3", true},          {"1.0.0.0", false},
      {"1.1.1.1", false},        {"8.8.8.8", false},         {"9.255.255.255", false},
      {"10.0.0.0", true},        {"10.255.255.255", true},   {"11.0.0.0", false},
      {"100.63.255.255", false}, {"100.64.0.1", true},       {"100.100.100.200", true},
      {"100.127.255.255", true}, {"100.128.0.0", false},     {"127.0.0.1", true},
      {"127.255.255.254", true}, {"168.63.129.15", false},   {"168.63.129.16", true},
      {"168.63.129.17", false},  {"169.254.169.254", true},  {"169.255.0.0", false},
      {"172.15.255.255", false}, {"172.16.0.1", true},       {"172.31.255.255", true},
      {"172.32.0.0", false},     {"192.0.0.192", true},      {"192.0.2.1", true},
      {"192.88.99.1", true},     {"192.168.1.1", true},      {"192.169.0.0", false},
      {"198.17.255.255", false}, {"198.18.0.0", true},       {"198.18.0.1", true},
      {"198.19.255.255", true},  {"198.20.0.0", false},      {"198.51.100.7", true},
      {"203.0.113.9", true},     {"223.255.255.255", false}, {"224.0.0.1", true},
      {"239.255.255.255", true}, {"240.0.0.1", true},        {"255.255.255.255", true},
      {"45.6.7.8", true},        {"46.0.0.0", false},        {"8.8.4.4", true},
      {"8.8.4.5", false},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ((*policy)->Refuses(Address(c.address)), c.refused) << c.address;
  }
}

TEST(Policy, RefusesTheHostsOwnAddresses) {
  auto policy = Policy::Make({});
  ASSERT_TRUE(policy);
  auto own = LocalRanges();
  ASSERT_TRUE(own) << own.error().message;
  for (const Range& range : *own) {
    EXPECT_TRUE((*policy)->Refuses(range.first)) << FormatAddress(range.first);
    EXPECT_TRUE((*policy)->Refuses(range.last)) << FormatAddress(range.last);
  }
}

TEST(Policy, RefusesMalformedRanges) {
  for (const char* text : {"", "/", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x", "10.0.0/8", "::1",
                           "10.0.0.0/-1", "example.org", "10.0.0.0/8/8"}) {
    EXPECT_FALSE(ParseRange(text)) << text;
    EXPECT_FALSE(Policy::Make({text})) << text;
  }
  EXPECT_EQ(*ParseRange("0.0.0.0/0"), (Range{0, 0xFFFFFFFF}));
}

TEST(Policy, MergesRangesUpToTheLastAddress) {
  std::vector<Range> merged =
      MergeRanges({{20, 30}, {0, 5}, {6, 9}, {25, 40}, {0xFFFFFFFF, 0xFFFFFFFF}, {50, 0xFFFFFFFF}});
  EXPECT_EQ(merged, (std::vector<Range>{{0, 9}, {20, 40}, {50, 0xFFFFFFFF}}));
}

TEST(Ruleset, NamesPortsOfTheHostOnlyWhenThereAreSome) {
  RulesetSpec spec{.refused = {{0x0A000000, 0x0AFFFFFF}}, .tcp_port = 7, .dns_port = 8};
  EXPECT_EQ(RulesetText(spec).find("198.18.0.2"), std::string::npos);
  spec.host_ports = {3000, 3001};
  EXPECT_NE(RulesetText(spec).find("ip daddr 198.18.0.2 tcp dport { 3000, 3001 } accept"),
            std::string::npos);
  EXPECT_NE(RulesetText(spec).find("10.0.0.0-10.255.255.255"), std::string::npos);
}

}  // namespace
}  // namespace atl::egress
