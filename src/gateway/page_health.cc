// SPDX-License-Identifier: Apache-2.0
#include "gateway/page_health.h"

#include <fmt/format.h>

#include <algorithm>

#include "opencode/server.h"

namespace atl::gateway {
namespace {

constexpr std::string_view kGlobal = "/global/health";
constexpr std::string_view kApi = "/api/health";

}  // namespace

// Browsers say so by themselves, in one way or the other; scripts cannot set either.
bool IsFromPage(const http::RequestHead& request) {
  std::string mode = request.headers.Joined("Sec-Fetch-Mode");
  if (!mode.empty()) return !http::EqualsIgnoreCase(mode, "navigate");
  std::string referer = request.headers.Joined("Referer");
  for (std::string_view scheme : {"http://", "https://"}) {
    std::string own = fmt::format("{}{}/", scheme, request.host);
    if (http::EqualsIgnoreCase(std::string_view(referer).substr(0, own.size()), own)) return true;
  }
  return false;
}

bool IsPageHealth(const http::RequestHead& request) {
  bool asks = request.target == kGlobal || request.target == kApi;
  return asks && request.method == "GET" && request.framing == http::Framing::kNone &&
         IsFromPage(request);
}

std::string HealthyAnswer(std::string_view path) {
  if (path == kApi) return R"({"healthy":true})";
  return fmt::format(R"({{"healthy":true,"version":"{}"}})", opencode::kVersion);
}

}  // namespace atl::gateway
