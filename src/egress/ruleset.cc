// SPDX-License-Identifier: Apache-2.0
#include "egress/ruleset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "egress/policy.h"
#include "sys/process.h"

namespace atl::egress {
namespace {

// `refuse` comes after connection tracking and before the redirection, so that what is never
// allowed fails at once, before a connection can seem to open. Answers of the daemon's own
// listeners carry the address that the sandbox wanted as their destination: they pass as replies.
// Traffic of the sandbox with itself is left alone, untracked.
constexpr std::string_view kTable = R"(
table inet atoll {{
  set never {{
    type ipv4_addr
    flags interval
    elements = {{ {never} }}
  }}
  chain own {{
    type filter hook output priority -300
    ip saddr 127.0.0.0/8 ip daddr 127.0.0.0/8 notrack
  }}
  chain refuse {{
    type filter hook output priority -150
    meta nfproto ipv6 reject
    ct direction reply accept
    ip daddr 127.0.0.0/8 accept
    ip daddr {gateway} tcp dport {{ 53, 80 }} accept
    ip daddr {gateway} udp dport 53 accept
    {host_rule}
    ip daddr @never meta l4proto tcp reject with tcp reset
    ip daddr @never reject
  }}
  chain redirect_out {{
    type nat hook output priority -100
    ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :{tcp_port}
    ip daddr != 127.0.0.0/8 udp dport 53 redirect to :{dns_port}
  }}
  chain rest {{
    type filter hook output priority 0
    ct direction reply accept
    ip daddr 127.0.0.0/8 accept
    meta l4proto tcp accept
    reject
  }}
}}
)";

// In a child, which inherits the calling thread's network namespace. The library inside the daemon
// would be quicker by some milliseconds, but it waits by select(), which ends a process that holds
// more than 1024 descriptors.
Result<void> RunBatch(const std::string& text) {
  sys::Command nft{.argv = {"nft", "-f", "-"}, .stdin_data = text};
  ASSIGN(sys::Finished finished, sys::Run(nft));
  if (finished.exit_code == 0) return {};
  return Fail(Code::kInternal, fmt::format("setting the packet filter of a sandbox: {}",
                                           finished.err.substr(0, finished.err.find('\n'))));
}

}  // namespace

std::string RulesetText(const RulesetSpec& spec) {
  std::vector<std::string> never;
  for (const Range& range : spec.refused) {
    never.push_back(range.first == range.last
                        ? FormatAddress(range.first)
                        : FormatAddress(range.first) + "-" + FormatAddress(range.last));
  }
  std::string host_rule;
  if (!spec.host_ports.empty()) {
    host_rule = fmt::format("ip daddr {} tcp dport {{ {} }} accept", FormatAddress(kHostAddress),
                            fmt::join(spec.host_ports, ", "));
  }
  return fmt::format(kTable, fmt::arg("never", fmt::join(never, ", ")),
                     fmt::arg("gateway", FormatAddress(kGatewayAddress)),
                     fmt::arg("host_rule", host_rule), fmt::arg("tcp_port", spec.tcp_port),
                     fmt::arg("dns_port", spec.dns_port));
}

Result<void> ApplyRuleset(const std::string& text) {
  // Deleting waits for the kernel's readers, ten milliseconds and more: only where there is
  // something to delete, and then in one transaction with what replaces it.
  Result<void> created = RunBatch("create table inet atoll\n" + text);
  if (created || created.error().message.find("File exists") == std::string::npos) return created;
  return RunBatch("delete table inet atoll\n" + text);
}

}  // namespace atl::egress
