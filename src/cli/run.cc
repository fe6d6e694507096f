// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>

#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

constexpr int kCouldNotRun = 125;  // as `docker run` and `env` say it

std::string DecodeBase64(std::string_view text) {
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                          reinterpret_cast<const unsigned char*>(text.data()),
                          static_cast<int>(text.size()));
  size_t padding = text.ends_with("==") ? 2 : (text.ends_with("=") ? 1 : 0);
  bytes.resize(n < 0 ? 0 : static_cast<size_t>(n) - padding);
  return bytes;
}

struct Outcome {
  bool ended = false;
  int exit_code = kCouldNotRun;
  std::string error;
};

std::string_view Text(const boost::json::object& event, std::string_view name) {
  const boost::json::value* value = event.if_contains(name);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string())
                                                : std::string_view();
}

bool Show(std::string_view data, Outcome& outcome) {
  boost::system::error_code error;
  boost::json::value parsed = boost::json::parse(boost::json::string_view(data), error);
  if (error || !parsed.is_object()) return true;
  const boost::json::object& event = parsed.get_object();
  std::string_view type = Text(event, "type");
  if (type == "stdout" || type == "stderr") {
    std::string_view base64 = Text(event, "base64");
    std::string bytes = base64.empty() ? std::string(Text(event, "data")) : DecodeBase64(base64);
    // A reader that has gone away (a closed pipe) ends the command too.
    return sys::WriteAll(type == "stdout" ? STDOUT_FILENO : STDERR_FILENO, bytes).has_value();
  }
  if (type == "complete") {
    const boost::json::value* code = event.if_contains("exitCode");
    outcome.ended = true;
    if (event.contains("outOfMemory")) {
      fmt::print(stderr, "atoll: the program was ended because the sandbox's memory was used up\n");
    }
    if (code != nullptr && code->is_int64()) {
      outcome.exit_code = static_cast<int>(code->get_int64());
    }
    return false;
  }
  if (type == "error") {
    outcome.ended = true;
    outcome.error = Text(event, "error");
    return false;
  }
  return true;
}

}  // namespace

Result<int> Run(const Globals& globals, const RunArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  json::Writer body;
  body.BeginObject().Field("command", CommandLine(arguments.command));
  if (!arguments.cwd.empty()) body.Field("cwd", arguments.cwd);
  if (arguments.timeout_ms) body.Field("timeout", *arguments.timeout_ms);
  TRY(AppendEnv(body, arguments.env));
  body.EndObject();
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  Outcome outcome;
  auto on_event = [&](std::string_view data) {
    if (!globals.json) return Show(data, outcome);
    fmt::print("{}\n", data);
    std::fflush(stdout);
    // The events themselves are the output; only the exit code is taken from them.
    boost::system::error_code error;
    boost::json::value parsed = boost::json::parse(boost::json::string_view(data), error);
    if (error || !parsed.is_object()) return true;
    std::string_view type = Text(parsed.get_object(), "type");
    return type != "complete" && type != "error" ? true : Show(data, outcome);
  };
  TRY(client.Stream(fmt::format("/v1/sandboxes/{}/run", arguments.id), body.Take(), on_event));
  if (!outcome.ended) {
    return Fail(Code::kUnavailable, "the connection to the daemon ended before the command did");
  }
  if (!outcome.error.empty()) {
    fmt::print(stderr, "atoll: {}\n", outcome.error);
    return kCouldNotRun;
  }
  return outcome.exit_code;
}

}  // namespace atl::cli
