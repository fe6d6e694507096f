// SPDX-License-Identifier: Apache-2.0
#include "egress/policy.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace atl::egress {
namespace {

// IANA's special-purpose registry without what it calls globally reachable, plus Azure's
// WireServer, which is the host's hypervisor under a public address.
constexpr std::array kNever = {
    "0.0.0.0/8",      "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8",
    "169.254.0.0/16", "172.16.0.0/12",  "192.0.0.0/24",  "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4",   "168.63.129.16/32"};

constexpr auto kFresh = std::chrono::seconds(1);

bool Contains(const std::vector<Range>& merged, uint32_t address) {
  auto after = std::upper_bound(merged.begin(), merged.end(), address,
                                [](uint32_t a, const Range& range) { return a < range.first; });
  return after != merged.begin() && address <= std::prev(after)->last;
}

}  // namespace

Result<Range> ParseRange(std::string_view text) {
  auto malformed = [&] {
    return Fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is not an IPv4 range like 10.0.0.0/8", text));
  };
  size_t slash = text.find('/');
  std::string address_text(text.substr(0, slash));
  in_addr address{};
  if (::inet_pton(AF_INET, address_text.c_str(), &address) != 1) return malformed();
  uint32_t bits = 32;
  if (slash != std::string_view::npos) {
    std::string_view digits = text.substr(slash + 1);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || bits > 32) {
      return malformed();
    }
  }
  uint32_t host_bits = bits == 32 ? 0 : (~uint32_t{0} >> bits);
  uint32_t first = ntohl(address.s_addr) & ~host_bits;
  return Range{first, first | host_bits};
}

std::string FormatAddress(uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24U, (address >> 16U) & 255U, (address >> 8U) & 255U,
                     address & 255U);
}

std::vector<Range> MergeRanges(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> merged;
  for (const Range& range : ranges) {
    // Written so that it cannot wrap at 255.255.255.255.
    if (!merged.empty() &&
        (range.first <= merged.back().last || range.first - 1 == merged.back().last)) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

Result<std::shared_ptr<Policy>> Policy::Make(const std::vector<std::string>& deny) {
  std::vector<Range> fixed;
  for (const char* text : kNever) {
    ASSIGN(Range range, ParseRange(text));
    fixed.push_back(range);
  }
  for (const std::string& text : deny) {
    ASSIGN(Range range, ParseRange(text));
    fixed.push_back(range);
  }
  std::shared_ptr<Policy> policy(new Policy(std::move(fixed)));
  TRY(policy->Refresh());
  return policy;
}

Result<void> Policy::Refresh() {
  ASSIGN(std::vector<Range> all, LocalRanges());
  all.insert(all.end(), fixed_.begin(), fixed_.end());
  refused_ = MergeRanges(std::move(all));
  refreshed_ = std::chrono::steady_clock::now();
  return {};
}

bool Policy::Refuses(uint32_t address) {
  std::lock_guard lock(mutex_);
  // When the kernel does not tell, the addresses of before are the best there is.
  if (std::chrono::steady_clock::now() - refreshed_ > kFresh) static_cast<void>(Refresh());
  return Contains(refused_, address);
}

std::vector<Range> Policy::Refused() {
  std::lock_guard lock(mutex_);
  static_cast<void>(Refresh());
  return refused_;
}

}  // namespace atl::egress
