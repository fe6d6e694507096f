// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {

Result<int> Fork(const Globals& globals, const ForkArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  json::Writer body;
  body.BeginObject();
  if (!arguments.copy.empty()) body.Field("id", arguments.copy);
  if (arguments.count) body.Field("count", *arguments.count);
  if (arguments.memory) body.Field("memory", true);
  if (arguments.no_opencode) body.Field("opencode", false);
  body.EndObject();
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer,
         client.Call("POST", fmt::format("/v1/sandboxes/{}/fork", arguments.id), body.Take()));
  if (globals.json) {
    std::fputs(answer.c_str(), stdout);
    return 0;
  }
  ASSIGN(std::vector<boost::json::object> copies, ListOf(answer, "sandboxes"));
  for (const boost::json::object& copy : copies) {
    std::string text = boost::json::serialize(copy);
    fmt::print("{}  {}\n", StringField(text, "id"), StringField(text, "url"));
  }
  return 0;
}

}  // namespace atl::cli
