// SPDX-License-Identifier: Apache-2.0
#include "gateway/origin.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "gateway/host_port.h"

namespace atl::gateway {
namespace {

Unexpected Refused(std::string message) {
  return Fail(Code::kPermissionDenied, std::move(message), "FOREIGN_ORIGIN");
}

struct Origin {
  std::string_view scheme;
  HostPort authority;
};

// "http://host:port" and nothing behind it, or, for a Referer, the beginning of such a URL.
std::optional<Origin> ParseOrigin(std::string_view text, bool path_allowed) {
  std::string_view scheme;
  for (std::string_view one : {"http", "https"}) {
    if (text.starts_with(one) && text.substr(one.size()).starts_with("://")) scheme = one;
  }
  if (scheme.empty()) return std::nullopt;
  std::string_view rest = text.substr(scheme.size() + 3);
  if (path_allowed) rest = rest.substr(0, rest.find_first_of("/?#"));
  std::optional<HostPort> authority = SplitHostPort(rest);
  if (!authority) return std::nullopt;
  return Origin{.scheme = scheme, .authority = *authority};
}

// Browsers leave the scheme's default port out; a proxy in front may have changed the scheme, so
// the scheme itself does not count.
std::string WithoutDefaultPort(const HostPort& authority, std::string_view scheme) {
  std::string_view standard = scheme == "https" ? "443" : "80";
  if (authority.port.empty() || authority.port == standard) return authority.host;
  return authority.host + ":" + authority.port;
}

bool SameAuthority(const Origin& origin, const HostPort& host) {
  return WithoutDefaultPort(origin.authority, origin.scheme) ==
         WithoutDefaultPort(host, origin.scheme);
}

// A port of the sandbox that `route` is a port of too, at the same listener.
bool IsSiblingPort(const Origin& origin, const HostPort& host, const Route& route,
                   std::string_view domain) {
  const auto* target = std::get_if<PortHost>(&route);
  if (target == nullptr) return false;
  HostPort here = origin.authority;
  here.host = host.host;
  if (!SameAuthority({.scheme = origin.scheme, .authority = here}, host)) return false;
  Route from = RouteHost(origin.authority.host, domain);
  const auto* source = std::get_if<PortHost>(&from);
  // The owner's hosts among themselves, and previews among themselves: who was given one preview
  // does not reach the owner's through its pages.
  return source != nullptr && source->id == target->id &&
         source->token.empty() == target->token.empty();
}

bool IsTopLevelNavigation(const http::RequestHead& request) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  if (request.headers.Has("Upgrade")) return false;
  return http::EqualsIgnoreCase(request.headers.Joined("Sec-Fetch-Mode"), "navigate") &&
         http::EqualsIgnoreCase(request.headers.Joined("Sec-Fetch-Dest"), "document");
}

}  // namespace

Result<void> CheckOrigin(const http::RequestHead& request, const Route& route,
                         std::string_view domain) {
  std::optional<HostPort> host = SplitHostPort(request.host);
  if (!host) return Refused("the Host field is not a host");
  size_t count = request.headers.Count("Origin");
  if (count > 1) return Refused("more than one Origin");
  if (count == 1) {
    std::string_view text = *request.headers.Get("Origin");
    std::optional<Origin> origin = ParseOrigin(text, false);
    if (origin && (SameAuthority(*origin, *host) || IsSiblingPort(*origin, *host, route, domain))) {
      return {};
    }
    return Refused(fmt::format("pages of {:.200} may not talk to {}", text, request.host));
  }
  // Requests without Origin: GETs of pages, of what pages embed, and of programs.
  std::string site = request.headers.Joined("Sec-Fetch-Site");
  if (site.empty() || http::EqualsIgnoreCase(site, "same-origin") ||
      http::EqualsIgnoreCase(site, "none") || IsTopLevelNavigation(request)) {
    return {};
  }
  // A page can withhold its Referer but not claim another's.
  std::optional<std::string_view> referer = request.headers.Get("Referer");
  std::optional<Origin> from = referer ? ParseOrigin(*referer, true) : std::nullopt;
  if (from && IsSiblingPort(*from, *host, route, domain)) return {};
  return Refused(fmt::format("pages of other origins may not embed {}", request.host));
}

}  // namespace atl::gateway
