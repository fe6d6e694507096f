// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <optional>

#include "gateway/gateway.h"
#include "gateway/host_port.h"
#include "sandbox/id.h"
#include "sandbox/ports.h"

namespace atl::gateway {
namespace {

constexpr std::string_view kSdk = "sdk--";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// 1 to 65535 without leading zeros: each port of a sandbox has one name, so one origin.
std::optional<uint16_t> ParsePort(std::string_view digits) {
  if (digits.empty() || digits[0] == '0' || digits.size() > 5) return std::nullopt;
  unsigned port = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (port == 0 || port > 65535) return std::nullopt;
  return static_cast<uint16_t>(port);
}

// "<port>-<id>"
std::optional<PortHost> ParsePortLabel(std::string_view label) {
  size_t hyphen = label.find('-');
  if (hyphen == std::string_view::npos) return std::nullopt;
  std::optional<uint16_t> port = ParsePort(label.substr(0, hyphen));
  std::string_view id = label.substr(hyphen + 1);
  if (!port || !sandbox::ValidateId(id)) return std::nullopt;
  return PortHost{.port = *port, .id = std::string(id)};
}

// No id has two hyphens in a row: what is behind them is a token, or, behind "sdk", an id.
Route RouteLabel(std::string_view label) {
  if (sandbox::ValidateId(label)) return SandboxHost{.id = std::string(label)};
  if (label.starts_with(kSdk)) {
    std::string_view id = label.substr(kSdk.size());
    if (!sandbox::ValidateId(id)) return UnknownHost{};
    return SdkHost{.id = std::string(id)};
  }
  size_t hyphens = label.find("--");
  std::optional<PortHost> host = ParsePortLabel(label.substr(0, hyphens));
  if (!host) return UnknownHost{};
  if (hyphens != std::string_view::npos) {
    host->token = label.substr(hyphens + 2);
    if (!sandbox::ValidatePreviewToken(host->token)) return UnknownHost{};
  }
  return *std::move(host);
}

}  // namespace

std::optional<HostPort> SplitHostPort(std::string_view authority) {
  std::string_view host = authority;
  std::string_view port;
  size_t bracket = authority.starts_with('[') ? authority.find(']') : std::string_view::npos;
  if (authority.starts_with('[') && bracket == std::string_view::npos) return std::nullopt;
  size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    if (port.empty() || port.size() > 5 || !std::ranges::all_of(port, IsDigit)) {
      return std::nullopt;
    }
  }
  if (bracket != std::string_view::npos && host.size() != bracket + 1) return std::nullopt;
  if (host.size() > 1 && host.ends_with('.')) host.remove_suffix(1);
  if (host.empty() || host.find_first_of(" \t@/\\?#%,") != std::string_view::npos) {
    return std::nullopt;
  }
  HostPort result{.host = std::string(host), .port = std::string(port)};
  std::ranges::transform(result.host, result.host.begin(), Lower);
  return result;
}

Route RouteHost(std::string_view host, std::string_view domain) {
  std::optional<HostPort> split = SplitHostPort(host);
  std::optional<HostPort> bare = SplitHostPort(domain);
  if (!split || !bare) return UnknownHost{};
  std::string_view name = split->host;
  if (name == bare->host) return BareDomain{};
  if (bare->host == "localhost" && (name == "127.0.0.1" || name == "[::1]")) return BareDomain{};
  std::string suffix = "." + bare->host;
  if (!name.ends_with(suffix)) return UnknownHost{};
  return RouteLabel(name.substr(0, name.size() - suffix.size()));
}

}  // namespace atl::gateway
