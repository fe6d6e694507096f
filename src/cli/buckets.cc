// SPDX-License-Identifier: Apache-2.0
// bucket mount, ls and unmount.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Every byte but those that a value of a query may have as they are.
std::string Encoded(std::string_view text) {
  std::string encoded;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '/' || c == '-' || c == '_' || c == '.';
    encoded += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

std::string Text(const boost::json::object& from, std::string_view name) {
  const boost::json::value* found = from.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : "";
}

void PrintBucket(const boost::json::object& bucket) {
  const boost::json::value* mounted = bucket.if_contains("mounted");
  const boost::json::value* read_only = bucket.if_contains("readOnly");
  bool is_mounted = mounted != nullptr && mounted->is_bool() && mounted->get_bool();
  bool is_read_only = read_only != nullptr && read_only->is_bool() && read_only->get_bool();
  std::string what = Text(bucket, "bucket");
  if (std::string prefix = Text(bucket, "prefix"); !prefix.empty()) what += "/" + prefix;
  std::string failure = Text(bucket, "failure");
  fmt::print("{:<30} {:<30} {} {} {}\n", Text(bucket, "path"), what, is_read_only ? "ro" : "rw",
             is_mounted ? "mounted" : "-", failure);
}

}  // namespace

Result<int> BucketMount(const Globals& globals, const BucketArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  json::Writer body;
  body.BeginObject().Field("bucket", arguments.bucket).Field("path", arguments.path);
  if (!arguments.endpoint.empty()) body.Field("endpoint", arguments.endpoint);
  if (!arguments.region.empty()) body.Field("region", arguments.region);
  if (!arguments.prefix.empty()) body.Field("prefix", arguments.prefix);
  if (arguments.is_read_only) body.Field("readOnly", true);
  // Never an argument: everybody on the host can read those.
  std::string access_key = Variable("AWS_ACCESS_KEY_ID");
  if (!arguments.secret.empty()) {
    body.Field("secret", arguments.secret);
  } else if (!access_key.empty()) {
    body.Key("credentials").BeginObject().Field("accessKeyId", access_key);
    body.Field("secretAccessKey", Variable("AWS_SECRET_ACCESS_KEY")).EndObject();
  }
  body.EndObject();
  std::string path = fmt::format("/v1/sandboxes/{}/buckets", arguments.id);
  ASSIGN(std::string answer, client.Call("POST", path, body.Take()));
  if (globals.json) fmt::print("{}\n", answer);
  return 0;
}

Result<int> BucketList(const Globals& globals, const std::string& id) {
  TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  ASSIGN(std::string answer, client.Call("GET", fmt::format("/v1/sandboxes/{}/buckets", id)));
  if (globals.json) {
    fmt::print("{}\n", answer);
    return 0;
  }
  ASSIGN(std::vector<boost::json::object> buckets, ListOf(answer, "buckets"));
  for (const boost::json::object& bucket : buckets) PrintBucket(bucket);
  return 0;
}

Result<int> BucketUnmount(const Globals& globals, const std::string& id, const std::string& path) {
  TRY(sandbox::ValidateId(id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  TRY(client.Call("DELETE", fmt::format("/v1/sandboxes/{}/buckets?path={}", id, Encoded(path))));
  return 0;
}

}  // namespace atl::cli
