// SPDX-License-Identifier: Apache-2.0
#include "egress/model_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace atl::egress {
namespace {

constexpr std::string_view kVersion = "/v1";

}  // namespace

Result<ModelUrl> ParseModelUrl(std::string_view text) {
  auto malformed = [](std::string_view why) {
    return Fail(Code::kInvalidArgument, fmt::format("the model's base_url {}", why));
  };
  ModelUrl url;
  if (text.starts_with("https://")) {
    url.tls = true;
    text.remove_prefix(8);
  } else if (text.starts_with("http://")) {
    text.remove_prefix(7);
  } else {
    return malformed("must begin with http:// or https://");
  }
  bool odd = std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c >= 0x7f; });
  if (odd || text.find_first_of("?#@\\") != std::string_view::npos) {
    return malformed("must be an address and a path, nothing else");
  }
  size_t slash = std::min(text.find('/'), text.size());
  url.authority = text.substr(0, slash);
  url.path = text.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  std::string_view host = url.authority;
  std::string_view port;
  size_t colon = host.rfind(':');
  size_t bracket = host.rfind(']');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || bracket < colon)) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0) {
      return malformed("has a malformed port");
    }
  } else {
    url.port = url.tls ? 443 : 80;
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty()) return malformed("names no host");
  url.host = host;
  return url;
}

bool IsModelRequest(std::string_view method, std::string_view path) {
  if (method == "GET") return path == "/v1/models";
  return method == "POST" &&
         (path == "/v1/messages" || path == "/v1/chat/completions" || path == "/v1/responses");
}

std::string JoinModelPath(ModelOptions::Protocol protocol, std::string_view base,
                          std::string_view path) {
  bool versioned =
      protocol == ModelOptions::Protocol::kOpenAi ? !base.empty() : base.ends_with(kVersion);
  if (versioned && path.starts_with(kVersion)) path.remove_prefix(kVersion.size());
  return std::string(base) + std::string(path);
}

}  // namespace atl::egress
