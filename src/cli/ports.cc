// SPDX-License-Identifier: Apache-2.0
// ports, expose and unexpose.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

using boost::json::object;
using boost::json::value;

std::string Text(const object& from, std::string_view name) {
  const value* found = from.if_contains(name);
  if (found == nullptr || found->is_null()) return {};
  return found->is_string() ? std::string(found->get_string()) : boost::json::serialize(*found);
}

// What a program was started as, on one line.
std::string CommandLine(const object& port) {
  const value* process = port.if_contains("process");
  if (process == nullptr || !process->is_object()) return {};
  constexpr size_t kWidth = 60;
  std::string line;
  const value* argv = process->get_object().if_contains("argv");
  if (argv != nullptr && argv->is_array()) {
    for (const value& argument : argv->get_array()) {
      if (!argument.is_string()) continue;
      if (!line.empty()) line += ' ';
      line += std::string_view(argument.get_string());
    }
  }
  if (line.empty()) line = Text(process->get_object(), "name");
  // The program chooses it: nothing in it may command the terminal.
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return line.size() <= kWidth ? line : line.substr(0, kWidth) + "...";
}

void PrintPort(const object& port, const object* exposed) {
  std::string url = exposed != nullptr ? Text(*exposed, "url") : Text(port, "url");
  fmt::print("{:>5}  {:<16} {:<8} {}  {}\n", Text(port, "port"), Text(port, "address"),
             exposed != nullptr ? "exposed" : "", url, CommandLine(port));
}

}  // namespace

Result<int> PortsList(const Globals& globals, const std::string& id) {
  TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer, client.Call("GET", fmt::format("/v1/sandboxes/{}/ports", id)));
  if (globals.json) {
    fmt::print("{}\n", answer);
    return 0;
  }
  ASSIGN(std::vector<object> listening, ListOf(answer, "ports"));
  ASSIGN(std::string second, client.Call("GET", fmt::format("/v1/sandboxes/{}/ports/exposed", id)));
  ASSIGN(std::vector<object> exposed, ListOf(second, "ports"));
  std::set<std::string> shown;
  for (const object& port : listening) {
    const value* preview = port.if_contains("exposed");
    bool has = preview != nullptr && preview->is_object();
    PrintPort(port, has ? &preview->get_object() : nullptr);
    shown.insert(Text(port, "port"));
  }
  for (const object& port : exposed) {
    if (shown.contains(Text(port, "port"))) continue;
    fmt::print("{:>5}  {:<16} {:<8} {}\n", Text(port, "port"), "nothing listens", "exposed",
               Text(port, "url"));
  }
  return 0;
}

Result<int> Expose(const Globals& globals, const ExposeArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  json::Writer body;
  body.BeginObject();
  if (!arguments.name.empty()) body.Field("name", arguments.name);
  if (!arguments.token.empty()) body.Field("token", arguments.token);
  if (!arguments.ttl.empty()) body.Field("ttl", arguments.ttl);
  if (arguments.is_signed) body.Field("signed", true);
  body.EndObject();
  std::string path = fmt::format("/v1/sandboxes/{}/ports/{}/expose", arguments.id, arguments.port);
  ASSIGN(std::string answer, client.Call("POST", path, body.Take()));
  fmt::print("{}\n", globals.json ? answer : StringField(answer, "url"));
  return 0;
}

Result<int> Unexpose(const Globals& globals, const std::string& id, uint16_t port) {
  TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  TRY(client.Call("DELETE", fmt::format("/v1/sandboxes/{}/ports/{}/expose", id, port)));
  return 0;
}

}  // namespace atl::cli
