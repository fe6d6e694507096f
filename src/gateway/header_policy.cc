// SPDX-License-Identifier: Apache-2.0
#include "gateway/header_policy.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace atl::gateway {
namespace {

using http::EqualsIgnoreCase;

constexpr std::array<std::string_view, 11> kHopByHop = {
    "Connection",          "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate",
    "Proxy-Authorization", "TE",         "Trailer",          "Transfer-Encoding",
    "Content-Length",      "Upgrade",    "HTTP2-Settings"};

// What a client may not claim; the gateway says it anew.
constexpr std::array<std::string_view, 7> kProvenance = {
    "Forwarded",        "X-Forwarded-For",    "X-Forwarded-Host", "X-Forwarded-Proto",
    "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-IP"};

// What reaches beyond the sandbox's own origin: Alt-Svc moves a host elsewhere, Clear-Site-Data
// deletes cookies of sibling hosts too.
constexpr std::array<std::string_view, 2> kBeyondOrigin = {"Alt-Svc", "Clear-Site-Data"};

template <class List>
bool IsAnyOf(std::string_view name, const List& list) {
  return std::ranges::any_of(list, [&](const auto& one) { return EqualsIgnoreCase(name, one); });
}

bool StartsWithIgnoreCase(std::string_view text, std::string_view prefix) {
  return EqualsIgnoreCase(text.substr(0, prefix.size()), prefix);
}

std::vector<std::string> Tokens(std::string_view list) {
  std::vector<std::string> tokens;
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    std::string_view token = http::Trim(list.substr(0, comma));
    if (!token.empty()) tokens.emplace_back(token);
    list.remove_prefix(std::min(list.size(), comma + 1));
  }
  return tokens;
}

std::string_view WithoutPort(std::string_view peer) {
  size_t colon = peer.rfind(':');
  std::string_view address = peer.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  return address;
}

// The upstream's Content-Length of a response without a body (HEAD, 304).
std::optional<std::string> StatedLength(const http::Headers& headers) {
  std::optional<std::string_view> value = headers.Get("Content-Length");
  if (!value || value->empty() || value->size() > 18) return std::nullopt;
  if (value->find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return std::string(*value);
}

}  // namespace

void RemoveHopByHop(http::Headers& headers) {
  std::vector<std::string> named = Tokens(headers.Joined("Connection"));
  headers.RemoveIf([&](const http::Headers::Field& field) {
    // Host is never an option of a connection, whatever a client says.
    if (EqualsIgnoreCase(field.first, "Host")) return false;
    return IsAnyOf(field.first, kHopByHop) || IsAnyOf(field.first, named);
  });
}

std::string StripCookieDomain(std::string_view set_cookie) {
  std::string out;
  bool first = true;
  while (!set_cookie.empty() || first) {
    size_t end = std::min(set_cookie.find(';'), set_cookie.size());
    std::string_view part = set_cookie.substr(0, end);
    set_cookie.remove_prefix(std::min(set_cookie.size(), end + 1));
    std::string_view name = http::Trim(part.substr(0, part.find('=')));
    // The first part is the cookie itself, which may be called anything.
    if (first || !EqualsIgnoreCase(name, "Domain")) {
      if (!first) out += ';';
      out += part;
    }
    first = false;
  }
  return out;
}

bool IsUpgrade(const http::RequestHead& request) {
  // Requests inside an HTTP/2 tunnel would pass unseen; ignoring the offer is allowed.
  if (http::ListContains(request.headers.Joined("Upgrade"), "h2c")) return false;
  return request.minor_version == 1 && request.framing == http::Framing::kNone &&
         request.headers.Has("Upgrade") &&
         http::ListContains(request.headers.Joined("Connection"), "upgrade");
}

http::RequestHead UpstreamHead(const http::RequestHead& request, std::string_view peer,
                               bool upgrade) {
  http::RequestHead head = request;
  std::string protocol = request.headers.Joined("Upgrade");
  // TLS may end in front of the daemon, on this machine.
  bool https = http::EqualsIgnoreCase(request.headers.Joined("X-Forwarded-Proto"), "https");
  head.minor_version = 1;
  RemoveHopByHop(head.headers);
  head.headers.RemoveIf(
      [](const http::Headers::Field& field) { return IsAnyOf(field.first, kProvenance); });
  // The gateway has answered it: what goes on has its body.
  head.headers.Remove("Expect");
  head.headers.Set("Host", request.host);
  head.headers.Add("X-Forwarded-For", std::string(WithoutPort(peer)));
  head.headers.Add("X-Forwarded-Host", request.host);
  head.headers.Add("X-Forwarded-Proto", https ? "https" : "http");
  if (upgrade) {
    head.headers.Add("Connection", "Upgrade");
    head.headers.Add("Upgrade", std::move(protocol));
  } else {
    head.headers.Add("Connection", "close");
  }
  return head;
}

http::ResponseHead DownstreamHead(http::ResponseHead response, std::string_view request_method,
                                  bool strip_cors) {
  std::optional<std::string> stated = StatedLength(response.headers);
  RemoveHopByHop(response.headers);
  response.headers.RemoveIf([&](const http::Headers::Field& field) {
    return IsAnyOf(field.first, kBeyondOrigin) ||
           (strip_cors && StartsWithIgnoreCase(field.first, "Access-Control-"));
  });
  for (http::Headers::Field& field : response.headers.fields()) {
    if (EqualsIgnoreCase(field.first, "Set-Cookie")) field.second = StripCookieDomain(field.second);
  }
  if (request_method == "HEAD" || response.status == 304) {
    if (stated) response.headers.Add("Content-Length", *stated);
  } else if (response.framing == http::Framing::kLength) {
    response.headers.Add("Content-Length", std::to_string(response.content_length));
  } else if (response.framing == http::Framing::kNone && response.status != 204) {
    response.headers.Add("Content-Length", "0");
  }
  response.minor_version = 1;
  return response;
}

http::ResponseHead UpgradeHead(http::ResponseHead response) {
  std::string protocol = response.headers.Joined("Upgrade");
  response = DownstreamHead(std::move(response), "GET", false);
  response.headers.Remove("Content-Length");
  response.headers.Add("Connection", "Upgrade");
  response.headers.Add("Upgrade", std::move(protocol));
  return response;
}

}  // namespace atl::gateway
