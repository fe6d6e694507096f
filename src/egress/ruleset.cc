// SPDX-License-Identifier: Apache-2.0
#include "egress/ruleset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nftables/libnftables.h>

#include <memory>
#include <mutex>

#include "egress/policy.h"

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

Result<void> RunBatch(const std::string& text) {
  std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                            &nft_ctx_free);
  if (!context) return Fail(Code::kInternal, "libnftables gives no context");
  if (nft_ctx_buffer_error(context.get()) != 0 || nft_ctx_buffer_output(context.get()) != 0) {
    return Fail(Code::kResourceExhausted, "libnftables gives no buffer");
  }
  if (nft_run_cmd_from_buffer(context.get(), text.c_str()) == 0) return {};
  std::string_view why = nft_ctx_get_error_buffer(context.get());
  return Fail(Code::kInternal, fmt::format("setting the packet filter of a sandbox: {}",
                                           why.substr(0, why.find('\n'))));
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
  // libnftables keeps some state outside of its contexts.
  static std::mutex one_at_a_time;
  std::lock_guard lock(one_at_a_time);
  // Deleting waits for the kernel's readers, ten milliseconds and more: only where there is
  // something to delete, and then in one transaction with what replaces it.
  Result<void> created = RunBatch("create table inet atoll\n" + text);
  if (created || created.error().message.find("File exists") == std::string::npos) return created;
  return RunBatch("delete table inet atoll\n" + text);
}

}  // namespace atl::egress
