// SPDX-License-Identifier: Apache-2.0
// DNS messages (RFC 1035, 6891) as far as a forwarder reads and writes them. Pure functions on
// hostile bytes: bounded, and compression pointers only ever lead backward.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::egress::dns {

inline constexpr size_t kMaxMessage = 65535;
inline constexpr uint16_t kUdpPayload = 1232;

enum Rcode : uint8_t {
  kNoError = 0,
  kFormatError = 1,
  kServerFailure = 2,
  kNameError = 3,
  kNotImplemented = 4,
  kRefused = 5,
};

enum Type : uint16_t { kA = 1, kPtr = 12, kAaaa = 28, kOpt = 41, kSvcb = 64, kHttps = 65 };
inline constexpr uint16_t kInternet = 1;  // the class

// What is common to a query and its answer.
struct Question {
  std::string wire;  // name, type and class as sent
  std::string name;  // lower case, no dot at the end; odd bytes as \ddd
  uint16_t type = 0;
  uint16_t klass = 0;
};

struct Query {
  uint16_t id = 0;
  uint16_t flags = 0;
  Question question;
  bool edns = false;
  size_t udp_size = 512;  // how long an answer over UDP may be
};

struct Answer {
  uint16_t id = 0;
  uint8_t rcode = kNoError;
  bool truncated = false;
  Question question;
  uint16_t record_count = 0;
  size_t records_end = 0;           // offset behind the answer section
  std::vector<uint32_t> addresses;  // of A records, host byte order
};

// kInvalidArgument for what is malformed, kFailedPrecondition for an operation other than QUERY.
Result<Query> ParseQuery(std::string_view message);
// Looks no further than the answer section.
Result<Answer> ParseAnswer(std::string_view message);

// Same name (without case), type and class?
bool SameQuestion(const Question& a, const Question& b);

// A query of our own with the client's question.
std::string BuildQuery(uint16_t id, const Question& question, bool edns);

// An answer without records, or with A records.
std::string BuildReply(const Query& query, Rcode rcode,
                       const std::vector<uint32_t>& addresses = {});
// An upstream's answer made the client's: its id, its spelling of the question, and nothing behind
// the answer section, where other names' addresses could hide.
std::string BuildForwarded(const Query& query, std::string_view message, const Answer& answer);
// Tells the client to ask again over TCP.
std::string BuildTruncated(const Query& query);
// An answer to a message that is no proper query; nullopt when not even its header is there or when
// it is an answer itself.
std::optional<std::string> BuildRejection(std::string_view message, Rcode rcode);

// "4.3.2.1.in-addr.arpa" is 1.2.3.4.
std::optional<uint32_t> ReverseAddress(std::string_view name);

}  // namespace atl::egress::dns
