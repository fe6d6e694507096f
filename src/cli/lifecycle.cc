// SPDX-License-Identifier: Apache-2.0
// sleep, wake and events.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>
#include <vector>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

std::string Member(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr) return {};
  return value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
}

void PrintEvent(const boost::json::object& event) {
  fmt::print("{:<25} {:<10} {:<10} {}\n", Member(event, "at"), Member(event, "kind"),
             Member(event, "state"), Member(event, "detail"));
  std::fflush(stdout);
}

// Prints the event behind "data: ", as text or as JSON.
void PrintData(std::string_view json, bool as_json) {
  if (as_json) {
    fmt::print("{}\n", json);
    std::fflush(stdout);
    return;
  }
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(json, error);
  if (!error && value.is_object()) PrintEvent(value.get_object());
}

Result<int> Follow(const Globals& globals, const ApiClient& client, const std::string& path) {
  std::string rest;
  auto print = [&](std::string_view piece) -> Result<void> {
    constexpr size_t kLongestLine = 1UL << 20U;
    constexpr std::string_view kData = "data: ";
    rest.append(piece);
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n')) {
      std::string line = rest.substr(0, end);
      rest.erase(0, end + 1);
      if (line.starts_with(kData)) PrintData(line.substr(kData.size()), globals.json);
    }
    if (rest.size() <= kLongestLine) return {};
    return Fail(Code::kBadGateway, "the daemon's stream of events cannot be read");
  };
  TRY(client.Download(path + "?follow=true", print));
  return 0;
}

Result<int> ForEach(const Globals& globals, const std::vector<std::string>& ids,
                    std::string_view action, const std::string& body) {
  for (const std::string& id : ids) TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  for (const std::string& id : ids) {
    Result<std::string> answer =
        client.Call("POST", fmt::format("/v1/sandboxes/{}/{}", id, action), body);
    if (!answer) return std::unexpected(std::move(answer).error().Wrap(id));
    if (globals.json) {
      fmt::print("{}\n", *answer);
    } else {
      fmt::print("{}  {}\n", id, StringField(*answer, "state"));
    }
  }
  return 0;
}

}  // namespace

Result<int> Sleep(const Globals& globals, const std::vector<std::string>& ids, bool force) {
  return ForEach(globals, ids, "sleep", force ? R"({"force":true})" : "{}");
}

Result<int> Wake(const Globals& globals, const std::vector<std::string>& ids) {
  return ForEach(globals, ids, "wake", "{}");
}

Result<int> Events(const Globals& globals, const std::string& id, bool follow) {
  TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  std::string path = fmt::format("/v1/sandboxes/{}/events", id);
  if (follow) return Follow(globals, client, path);
  ASSIGN(std::string answer, client.Call("GET", path));
  if (globals.json) {
    fmt::print("{}\n", answer);
    return 0;
  }
  ASSIGN(std::vector<boost::json::object> events, ListOf(answer, "events"));
  for (const boost::json::object& event : events) PrintEvent(event);
  return 0;
}

}  // namespace atl::cli
