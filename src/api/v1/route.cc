// SPDX-License-Identifier: Apache-2.0
#include "api/v1/route.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <tuple>
#include <utility>

#include "json/utf8.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

bool IsValue(std::string_view part) { return part.starts_with('{'); }
bool IsRest(std::string_view part) { return part.ends_with("...}"); }

// The part up to the next slash, and what is behind that.
std::pair<std::string_view, std::string_view> Split(std::string_view path) {
  size_t end = std::min(path.find('/'), path.size());
  return {path.substr(0, end), path.substr(std::min(end + 1, path.size()))};
}

// Fills `raw` with the parts of `path` that `pattern` has in braces; false when they differ.
bool Matches(std::string_view pattern, std::string_view path, std::vector<std::string_view>& raw) {
  raw.clear();
  if (!path.starts_with('/')) return false;
  while (true) {
    pattern.remove_prefix(1);
    path.remove_prefix(1);
    size_t wanted_end = std::min(pattern.find('/'), pattern.size());
    std::string_view wanted = pattern.substr(0, wanted_end);
    if (IsRest(wanted)) {
      raw.push_back(path);
      return !path.empty();
    }
    size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    if (IsValue(wanted) ? part.empty() : part != wanted) return false;
    if (IsValue(wanted)) raw.push_back(part);
    pattern.remove_prefix(wanted_end);
    path.remove_prefix(end);
    if (pattern.empty() || path.empty()) return pattern.empty() && path.empty();
  }
}

// The names in braces, in order.
std::vector<std::string_view> NamesOf(std::string_view pattern) {
  std::vector<std::string_view> names;
  while (!pattern.empty()) {
    auto [part, rest] = Split(pattern);
    if (IsValue(part)) names.push_back(part.substr(1, part.size() - 2));
    pattern = rest;
  }
  return names;
}

Result<std::string> Decode(std::string_view name, std::string_view raw) {
  std::optional<std::string> value = http::PercentDecode(raw);
  if (!value || !json::IsUtf8(*value)) {
    return Fail(Code::kInvalidArgument,
                fmt::format("the {} in the path is not percent-encoded UTF-8 without NUL", name),
                "VALIDATION_FAILED");
  }
  if (name == "id") TRY(sandbox::ValidateId(*value));
  return *std::move(value);
}

bool Answers(const Route& route, std::string_view method) {
  return route.method == method || (method == "HEAD" && route.method == "GET");
}

}  // namespace

RouteTable::RouteTable(std::initializer_list<std::span<const Route>> parts) {
  for (std::span<const Route> part : parts) {
    routes_.insert(routes_.end(), part.begin(), part.end());
  }
  // What a path has literally comes before what it may have.
  std::ranges::sort(routes_, {}, [](const Route& route) {
    auto values = std::ranges::count(route.pattern, '{');
    return std::tuple(IsRest(route.pattern), values, route.pattern, route.method);
  });
}

Result<RouteTable::Match> RouteTable::Find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::string_view> raw;
  for (const Route& route : routes_) {
    if (!Matches(route.pattern, path, raw)) continue;
    if (Answers(route, method)) {
      std::vector<std::string_view> names = NamesOf(route.pattern);
      for (size_t i = 0; i < raw.size(); ++i) {
        ASSIGN(std::string value, Decode(names.at(i), raw[i]));
        match.values.push_back(std::move(value));
      }
      match.route = &route;
      match.allow.clear();
      return match;
    }
    if (match.allow.contains(route.method)) continue;
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method;
    if (route.method == "GET") match.allow += ", HEAD";
  }
  return match;
}

const ErrorStyle* RouteTable::StyleOf(std::string_view path) const {
  for (const Route& route : routes_) {
    if (route.errors == nullptr || route.errors->below.empty()) continue;
    std::string_view below = route.errors->below;
    if (!path.starts_with(below)) continue;
    if (path.size() == below.size() || path[below.size()] == '/') return route.errors;
  }
  return nullptr;
}

async::Task<> RespondResult(http::Exchange& exchange, Result<std::string> json) {
  if (!json) {
    co_await http::RespondError(exchange, std::move(json).error());
    co_return;
  }
  Result<void> sent = co_await http::RespondJson(exchange, 200, *std::move(json));
  (void)sent;  // the client has gone away
}

std::string Query(const http::RequestHead& request, std::string_view name) {
  return http::QueryParameter(request.query(), name).value_or("");
}

Result<uint64_t> QueryNumber(const http::RequestHead& request, std::string_view name,
                             uint64_t fallback, uint64_t most) {
  std::string text = Query(request, name);
  if (text.empty()) return fallback;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > most) {
    return Fail(Code::kInvalidArgument,
                fmt::format("\"{}\" must be a number from 1 to {}", name, most),
                "VALIDATION_FAILED");
  }
  return value;
}

}  // namespace atl::api
