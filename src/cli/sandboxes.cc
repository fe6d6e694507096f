// SPDX-License-Identifier: Apache-2.0
// create, ls and rm.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

Result<std::string> CreateBody(const CreateArguments& arguments) {
  json::Writer writer;
  writer.BeginObject();
  if (arguments.no_opencode) writer.Field("opencode", false);
  if (!arguments.image.empty()) writer.Field("image", arguments.image);
  if (!arguments.memory.empty()) writer.Field("memory", arguments.memory);
  if (arguments.cpus) writer.Field("cpus", *arguments.cpus);
  if (arguments.pids) writer.Field("pids", *arguments.pids);
  if (!arguments.disk.empty()) writer.Field("disk", arguments.disk);
  TRY(AppendEnv(writer, arguments.env));
  writer.EndObject();
  return writer.Take();
}

std::string TextOf(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr) return {};
  return value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
}

}  // namespace

Result<int> Create(const Globals& globals, const CreateArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  ASSIGN(std::string body, CreateBody(arguments));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer,
         client.Call("POST", fmt::format("/v1/sandboxes/{}/create", arguments.id), body));
  if (globals.json) {
    std::fputs(answer.c_str(), stdout);
  } else {
    fmt::print("{}  {}\n", StringField(answer, "id"), StringField(answer, "url"));
  }
  return 0;
}

Result<int> List(const Globals& globals) {
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer, client.Call("GET", "/v1/sandboxes"));
  if (globals.json) {
    std::fputs(answer.c_str(), stdout);
    return 0;
  }
  ASSIGN(std::vector<boost::json::object> sandboxes, ListOf(answer, "sandboxes"));
  fmt::print("{:<40} {:<20} {:<10} {}\n", "ID", "STATE", "OPENCODE", "URL");
  for (const boost::json::object& object : sandboxes) {
    std::string state(TextOf(object, "state"));
    const boost::json::value* kept = object.if_contains("memoryKept");
    if (kept != nullptr && kept->is_bool() && kept->get_bool()) state += ", memory kept";
    fmt::print("{:<40} {:<20} {:<10} {}\n", TextOf(object, "id"), state, TextOf(object, "opencode"),
               TextOf(object, "url"));
  }
  return 0;
}

Result<int> Remove(const Globals& globals, const std::vector<std::string>& ids) {
  for (const std::string& id : ids) TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  for (const std::string& id : ids) {
    Result<std::string> answer = client.Call("DELETE", fmt::format("/v1/sandboxes/{}", id));
    if (!answer) return std::unexpected(std::move(answer).error().Wrap(id));
  }
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Key("removed").BeginArray();
    for (const std::string& id : ids) writer.String(id);
    writer.EndArray().EndObject();
    fmt::print("{}\n", writer.Take());
  }
  return 0;
}

}  // namespace atl::cli
