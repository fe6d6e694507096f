// SPDX-License-Identifier: Apache-2.0
#include "gateway/preview_access.h"

#include <fmt/format.h>

#include <algorithm>

#include "sandbox/ports.h"

namespace atl::gateway {
namespace {

constexpr std::string_view kName = sandbox::kPreviewAccess;
// A browser may hold several cookies of one name, for different paths and domains.
constexpr size_t kMaxShown = 8;

// Calls `visit` with every part between separators, trimmed.
template <class Visit>
void EachPart(std::string_view text, char separator, Visit visit) {
  while (!text.empty()) {
    size_t end = std::min(text.find(separator), text.size());
    visit(http::Trim(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

bool IsNamed(std::string_view pair) { return pair.substr(0, pair.find('=')) == kName; }

std::string_view ValueOf(std::string_view pair) {
  size_t equals = pair.find('=');
  return equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
}

// `text` without the parts that are the gateway's; as it is when there are none.
std::string Without(std::string_view text, char separator, std::string_view joint) {
  std::string kept;
  bool found = false;
  EachPart(text, separator, [&](std::string_view part) {
    if (IsNamed(part)) {
      found = true;
      return;
    }
    if (!kept.empty()) kept += joint;
    kept += part;
  });
  return found ? kept : std::string(text);
}

std::string TargetWithout(const http::RequestHead& request) {
  if (!HasSignatureInUrl(request)) return request.target;
  std::string target(request.path());
  std::string query = Without(request.query(), '&', "&");
  return query.empty() ? target : target + "?" + query;
}

}  // namespace

bool HasSignatureInUrl(const http::RequestHead& request) {
  bool has = false;
  EachPart(request.query(), '&', [&](std::string_view part) { has = has || IsNamed(part); });
  return has;
}

std::vector<std::string> ShownSignatures(const http::RequestHead& request) {
  std::vector<std::string> shown;
  auto take = [&](std::string_view part) {
    if (IsNamed(part) && shown.size() < kMaxShown) shown.emplace_back(ValueOf(part));
  };
  EachPart(request.query(), '&', take);
  for (const auto& [name, value] : request.headers.fields()) {
    if (http::EqualsIgnoreCase(name, "Cookie")) EachPart(value, ';', take);
  }
  return shown;
}

http::RequestHead WithoutSignatures(const http::RequestHead& request) {
  http::RequestHead head = request;
  head.target = TargetWithout(request);
  for (auto& [name, value] : head.headers.fields()) {
    if (http::EqualsIgnoreCase(name, "Cookie")) value = Without(value, ';', "; ");
  }
  head.headers.RemoveIf([](const http::Headers::Field& field) {
    return http::EqualsIgnoreCase(field.first, "Cookie") && field.second.empty();
  });
  return head;
}

http::ResponseHead SignatureToCookie(const http::RequestHead& request, int64_t seconds) {
  bool https = http::EqualsIgnoreCase(request.headers.Joined("X-Forwarded-Proto"), "https");
  std::string signature = http::QueryParameter(request.query(), kName).value_or("");
  http::ResponseHead head;
  head.status = 302;
  // With the host: a path may begin with two slashes, which alone would lead to another one.
  head.headers.Add("Location", fmt::format("{}://{}{}", https ? "https" : "http", request.host,
                                           TargetWithout(request)));
  head.headers.Add("Set-Cookie", fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{}",
                                             kName, signature, seconds, https ? "; Secure" : ""));
  head.headers.Add("Cache-Control", "no-store");
  head.headers.Add("Referrer-Policy", "no-referrer");
  return head;
}

void RemoveSignatureCookies(http::Headers& response) {
  response.RemoveIf([](const http::Headers::Field& field) {
    return http::EqualsIgnoreCase(field.first, "Set-Cookie") &&
           http::Trim(field.second.substr(0, field.second.find_first_of("=;"))) == kName;
  });
}

}  // namespace atl::gateway
