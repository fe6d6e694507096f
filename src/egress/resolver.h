// SPDX-License-Identifier: Apache-2.0
// Answers a sandbox's DNS queries: its own names here, all others by asking the host's nameservers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/stream.h"
#include "async/task.h"
#include "egress/dns_message.h"
#include "egress/nameservers.h"
#include "egress/policy.h"

namespace atl::egress {

enum class DnsTransport { kUdp, kTcp };

// Usable from any shard.
class Resolver {
 public:
  Resolver(std::vector<async::Endpoint> nameservers, std::shared_ptr<Policy> policy,
           std::string resolv_conf = "/etc/resolv.conf");

  // The answer to one message from a sandbox, within five seconds. Empty when nothing can be
  // answered, because not even a header is there.
  async::Task<std::string> Answer(std::string message, DnsTransport transport);

 private:
  struct Found {
    std::string message;
    dns::Answer answer;
  };
  std::optional<std::string> AnswerHere(const dns::Query& query);
  async::Task<std::optional<Found>> Ask(dns::Question question);
  async::Task<std::optional<Found>> AskServer(async::Endpoint server, dns::Question question,
                                              std::chrono::steady_clock::time_point deadline);

  Nameservers nameservers_;
  std::shared_ptr<Policy> policy_;
};

}  // namespace atl::egress
