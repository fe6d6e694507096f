// SPDX-License-Identifier: Apache-2.0
#include "egress/nameservers.h"

#include <utility>

#include "sys/fd.h"

namespace atl::egress {
namespace {

constexpr size_t kMaxServers = 8;
constexpr size_t kMaxFile = 64 * 1024;
constexpr auto kFresh = std::chrono::seconds(2);
constexpr uint16_t kPort = 53;

std::string_view NextWord(std::string_view& line) {
  constexpr std::string_view kBlank = " \t\r";
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  std::string_view word = line.substr(0, line.find_first_of(kBlank));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

std::vector<async::Endpoint> ParseResolvConf(std::string_view text) {
  std::vector<async::Endpoint> servers;
  while (!text.empty() && servers.size() < kMaxServers) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (NextWord(line) != "nameserver") continue;
    std::string_view address = NextWord(line);
    if (!address.empty()) servers.push_back(async::Endpoint{std::string(address), kPort});
  }
  return servers;
}

Nameservers::Nameservers(std::vector<async::Endpoint> fixed, std::string resolv_conf)
    : follows_file_(fixed.empty()),
      resolv_conf_(std::move(resolv_conf)),
      servers_(std::move(fixed)) {}

std::vector<async::Endpoint> Nameservers::Current() {
  std::lock_guard lock(mutex_);
  auto now = std::chrono::steady_clock::now();
  bool stale = read_ == std::chrono::steady_clock::time_point() || now - read_ > kFresh;
  if (follows_file_ && stale) {
    Result<std::string> text = sys::ReadFile(resolv_conf_, kMaxFile);
    servers_ = text ? ParseResolvConf(*text) : std::vector<async::Endpoint>();
    read_ = now;
  }
  return servers_;
}

}  // namespace atl::egress
