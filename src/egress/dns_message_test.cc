// SPDX-License-Identifier: Apache-2.0
#include "egress/dns_message.h"

#include <gtest/gtest.h>

namespace atl::egress::dns {
namespace {

using namespace std::string_literals;

const std::string kName = "\3Www\7example\3org\0"s;

std::string QueryFor(const std::string& name, char type) {
  return "\x12\x34\x01\0\0\1\0\0\0\0\0\0"s + name + "\0"s + type + "\0\1"s;
}

// An answer with `count` records that follow the question.
std::string AnswerWith(char count, const std::string& records) {
  return "\x12\x34\x81\x80\0\1\0"s + count + "\0\0\0\0"s + kName + "\0\1\0\1"s + records;
}

const std::string kAddressRecord = "\xC0\x0C\0\1\0\1\0\0\0\x3C\0\4\x08\x08\x08\x08"s;

TEST(DnsMessage, ReadsAQuery) {
  Result<Query> query = ParseQuery(QueryFor(kName, kA));
  ASSERT_TRUE(query) << query.error().message;
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_EQ(query->question.name, "www.example.org");
  EXPECT_EQ(query->question.type, kA);
  EXPECT_EQ(query->udp_size, 512U);
  EXPECT_FALSE(query->edns);
}

TEST(DnsMessage, ReadsEdns) {
  std::string message = QueryFor(kName, kA) + "\0\0\x29\x04\xD0\0\0\0\0\0\0"s;
  message[11] = 1;
  Result<Query> query = ParseQuery(message);
  ASSERT_TRUE(query) << query.error().message;
  EXPECT_TRUE(query->edns);
  EXPECT_EQ(query->udp_size, 1232U);
}

TEST(DnsMessage, RefusesMalformedQueries) {
  std::string good = QueryFor(kName, kA);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(ParseQuery(good.substr(0, n))) << n;
  EXPECT_FALSE(ParseQuery(QueryFor("\xC0\x0C"s, kA))) << "a pointer to itself";
  EXPECT_FALSE(ParseQuery(QueryFor("\xC0\0"s, kA))) << "a pointer into the header";
  EXPECT_FALSE(ParseQuery(QueryFor("\x40"s + std::string(64, 'a') + "\0"s, kA))) << "long label";
  std::string label = "\x3F"s + std::string(63, 'a');
  EXPECT_FALSE(ParseQuery(QueryFor(label + label + label + label + "\0"s, kA))) << "long name";
  std::string answer = good;
  answer[2] = static_cast<char>(0x81);
  EXPECT_FALSE(ParseQuery(answer));
  EXPECT_FALSE(BuildRejection(answer, kFormatError)) << "two servers could answer each other";
  std::string update = good;
  update[2] = 0x28;
  ASSERT_FALSE(ParseQuery(update));
  EXPECT_EQ(ParseQuery(update).error().code, Code::kFailedPrecondition);
}

TEST(DnsMessage, ReadsAnAnswerAndItsAddresses) {
  std::string message = AnswerWith(2, kAddressRecord + kAddressRecord);
  Result<Answer> answer = ParseAnswer(message + "what comes behind"s);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->addresses, (std::vector<uint32_t>{0x08080808, 0x08080808}));
  EXPECT_EQ(answer->records_end, message.size());
  for (size_t n = 0; n < message.size(); ++n) EXPECT_FALSE(ParseAnswer(message.substr(0, n))) << n;
}

TEST(DnsMessage, RefusesPointersThatDoNotLeadBackward) {
  size_t offset = AnswerWith(1, "").size();
  std::string to_itself = "\xC0"s + static_cast<char>(offset);
  EXPECT_FALSE(ParseAnswer(AnswerWith(1, to_itself + "\0\1\0\1\0\0\0\x3C\0\4\1\1\1\1"s)));
  std::string forward = "\xC0"s + static_cast<char>(offset + 2);
  EXPECT_FALSE(ParseAnswer(AnswerWith(1, forward + "\0\1\0\1\0\0\0\x3C\0\4\1\1\1\1"s)));
}

TEST(DnsMessage, PassesAnAnswerOnInTheClientsSpelling) {
  std::string asked = QueryFor("\3wWW\7eXample\3ORG\0"s, kA);
  Result<Query> query = ParseQuery(asked);
  ASSERT_TRUE(query);
  std::string message = AnswerWith(1, kAddressRecord) + "glue for somebody else"s;
  message[11] = 1;  // an additional record
  Result<Answer> answer = ParseAnswer(message);
  ASSERT_TRUE(answer);
  ASSERT_TRUE(SameQuestion(query->question, answer->question));
  std::string reply = BuildForwarded(*query, message, *answer);
  EXPECT_NE(reply.find("eXample"), std::string::npos);
  EXPECT_EQ(reply.find("glue"), std::string::npos);
  Result<Answer> again = ParseAnswer(reply);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->addresses, std::vector<uint32_t>{0x08080808});
}

TEST(DnsMessage, OwnRepliesCanBeRead) {
  Result<Query> query = ParseQuery(QueryFor(kName, kA));
  ASSERT_TRUE(query);
  Result<Answer> answer = ParseAnswer(BuildReply(*query, kNoError, {0xC6120001}));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->addresses, std::vector<uint32_t>{0xC6120001});
  EXPECT_TRUE(ParseAnswer(BuildTruncated(*query))->truncated);
  Result<Query> own = ParseQuery(BuildQuery(7, query->question, true));
  ASSERT_TRUE(own);
  EXPECT_TRUE(own->edns);
  EXPECT_TRUE(SameQuestion(own->question, query->question));
}

TEST(DnsMessage, ReadsReverseNames) {
  EXPECT_EQ(ReverseAddress("4.3.2.1.in-addr.arpa"), 0x01020304U);
  EXPECT_EQ(ReverseAddress("3.2.1.in-addr.arpa"), std::nullopt);
  EXPECT_EQ(ReverseAddress("256.3.2.1.in-addr.arpa"), std::nullopt);
  EXPECT_EQ(ReverseAddress("x.4.3.2.1.in-addr.arpa"), std::nullopt);
  EXPECT_EQ(ReverseAddress("5.4.3.2.1.in-addr.arpa"), std::nullopt);
}

}  // namespace
}  // namespace atl::egress::dns
