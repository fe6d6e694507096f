// SPDX-License-Identifier: Apache-2.0
// DNS messages as sandboxes and nameservers may send them. What parses must survive being answered.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "egress/dns_message.h"

namespace {

namespace dns = atl::egress::dns;

void Check(bool holds) {
  if (!holds) std::abort();
}

void AsQuery(std::string_view message) {
  auto query = dns::ParseQuery(message);
  if (!query) {
    auto rejection = dns::BuildRejection(message, dns::kFormatError);
    if (rejection) Check(!dns::BuildRejection(*rejection, dns::kFormatError));
    return;
  }
  auto reply = dns::ParseAnswer(dns::BuildReply(*query, dns::kNoError, {0x08080808}));
  Check(reply && dns::SameQuestion(reply->question, query->question));
  auto own = dns::ParseQuery(dns::BuildQuery(1, query->question, true));
  Check(own && own->question.wire == query->question.wire);
  (void)dns::BuildTruncated(*query);
  (void)dns::ReverseAddress(query->question.name);
}

void AsAnswer(std::string_view message) {
  auto answer = dns::ParseAnswer(message);
  if (!answer || answer->truncated || answer->question.wire.empty()) return;
  dns::Query query{.id = 7, .question = answer->question, .edns = true};
  auto again = dns::ParseAnswer(dns::BuildForwarded(query, message, *answer));
  Check(again && again->addresses == answer->addresses);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view message(reinterpret_cast<const char*>(data), size);
  AsQuery(message);
  AsAnswer(message);
  return 0;
}
