// SPDX-License-Identifier: Apache-2.0
#include "api/v1/buckets.h"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "api/seed/output_events.h"
#include "api/v1/answers/files.h"
#include "api/v1/file_json.h"
#include "api/v1/member_names.h"
#include "json/writer.h"

namespace atl::api {
namespace {

constexpr size_t kMaxBody = 64UL << 10U;

Result<void> TakeText(const json::Object& from, std::string_view name, std::string& into) {
  ASSIGN(std::optional<std::string> text, from.OptionalText(name));
  if (text) into = std::move(*text);
  return {};
}

constexpr Field kCredentialFields[] = {{.name = "accessKeyId"}, {.name = "secretAccessKey"}};

Result<sandbox::BucketRequest> Parse(std::string_view text) {
  ASSIGN(json::Object body, json::Object::Parse(text));
  sandbox::BucketRequest request;
  ASSIGN(request.bucket, body.Text("bucket"));
  ASSIGN(request.path, body.Text("path"));
  TRY(ParseBucketOptions(body, request));
  TRY(CheckMemberNames(kCredentialFields, body, "credentials"));
  return request;
}

void WriteBucket(json::Writer& writer, const sandbox::BucketState& state) {
  const sandbox::BucketRequest& request = state.request;
  writer.BeginObject().Field("bucket", request.bucket).Field("path", request.path);
  writer.Field("endpoint", request.endpoint).Field("region", request.region);
  writer.Field("prefix", request.prefix).Field("readOnly", request.read_only);
  if (!request.secret.empty()) writer.Field("secret", request.secret);
  writer.Field("mounted", state.mounted);
  if (!state.failure.empty()) writer.Field("failure", state.failure);
  writer.EndObject();
}

async::Task<Result<std::string>> DoMount(const Services& services, std::string id,
                                         http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBody));
  CO_ASSIGN(sandbox::BucketRequest request, Parse(text));
  sandbox::Waited waited;
  Result<sandbox::BucketState> mounted =
      co_await services.registry.MountBucket(std::move(id), std::move(request), &waited);
  waited.SayIn(exchange);
  CO_ASSIGN(sandbox::BucketState state, std::move(mounted));
  json::Writer writer;
  WriteBucket(writer, state);
  co_return writer.Take();
}

async::Task<> Mount(const Services& services, std::string id, http::Exchange& exchange) {
  Result<std::string> json = co_await DoMount(services, std::move(id), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> ListJson(const Services& services, std::string id) {
  CO_ASSIGN(std::vector<sandbox::BucketState> states,
            co_await services.registry.Buckets(std::move(id)));
  json::Writer writer;
  writer.BeginObject().Key("buckets").BeginArray();
  for (const sandbox::BucketState& state : states) WriteBucket(writer, state);
  writer.EndArray().EndObject();
  co_return writer.Take();
}

async::Task<> List(const Services& services, std::string id, http::Exchange& exchange) {
  Result<std::string> json = co_await ListJson(services, std::move(id));
  co_await RespondResult(exchange, std::move(json));
}

async::Task<> Unmount(const Services& services, std::string id, http::Exchange& exchange) {
  std::string path =
      http::QueryParameter(exchange.request().query(), "path").value_or(std::string());
  Result<void> removed;
  if (path.empty()) {
    removed = Fail(Code::kInvalidArgument, "?path= must name where it is mounted",
                   "INVALID_MOUNT_CONFIG");
  } else {
    removed = co_await services.registry.UnmountBucket(std::move(id), std::move(path));
  }
  if (!removed) {
    co_await http::RespondError(exchange, std::move(removed).error());
    co_return;
  }
  co_await RespondNothing(exchange);
}

constexpr Field kMountFields[] = {
    {.name = "bucket", .about = "Its name.", .required = true},
    {.name = "path",
     .about = "An empty directory, or one that is made, where it appears.",
     .required = true},
    {.name = "endpoint", .about = "https://host:port of the store; Amazon's without."},
    {.name = "region", .about = "us-east-1 without."},
    {.name = "provider", .about = "\"r2\" means the region \"auto\"; others mean nothing."},
    {.name = "prefix", .about = "Only what is below it: \"some/where\"."},
    {.name = "readOnly", .kind = Kind::kBoolean, .about = "Nobody inside can change anything."},
    {.name = "credentials",
     .kind = Kind::kObject,
     .about = "{\"accessKeyId\", \"secretAccessKey\"}: they never enter the sandbox."},
    {.name = "secret", .about = "The name of [buckets.<name>] in the daemon's configuration."},
};

constexpr Field kUnmountQuery[] = {
    {.name = "path", .kind = Kind::kPath, .about = "Where it is mounted.", .required = true},
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/buckets",
     .operation = "listBuckets",
     .summary = "The buckets that it has as directories.",
     .handler = OfSandbox<List>,
     .returns = &answers::kBucketList},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/buckets",
     .operation = "mountBucket",
     .summary = "Makes a bucket of an S3 store a directory, now and at each start.",
     .handler = OfSandbox<Mount>,
     .returns = &answers::kBucket,
     .body = Media::kJson,
     .fields = kMountFields},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/buckets",
     .operation = "unmountBucket",
     .summary = "Takes a bucket out again; what is in it stays in the store.",
     .handler = OfSandbox<Unmount>,
     .answer = Media::kNone,
     .query = kUnmountQuery},
};

}  // namespace

Result<void> ParseBucketOptions(const json::Object& options, sandbox::BucketRequest& into) {
  for (std::string_view name : {"s3fsOptions", "localBucket", "binding", "sessionToken"}) {
    if (!options.Has(name)) continue;
    return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is not supported", name),
                "INVALID_MOUNT_CONFIG");
  }
  TRY(TakeText(options, "endpoint", into.endpoint));
  TRY(TakeText(options, "region", into.region));
  TRY(TakeText(options, "prefix", into.prefix));
  TRY(TakeText(options, "secret", into.secret));
  std::string provider;
  TRY(TakeText(options, "provider", provider));
  if (provider == "r2" && into.region.empty()) into.region = "auto";
  ASSIGN(std::optional<bool> read_only, options.OptionalBool("readOnly"));
  into.read_only = read_only.value_or(false);
  ASSIGN(std::optional<json::Object> credentials, options.OptionalObject("credentials"));
  if (!credentials) return {};
  if (credentials->Has("sessionToken")) {
    return Fail(Code::kInvalidArgument, "\"sessionToken\" is not supported",
                "INVALID_MOUNT_CONFIG");
  }
  TRY(TakeText(*credentials, "accessKeyId", into.access_key));
  return TakeText(*credentials, "secretAccessKey", into.secret_key);
}

std::span<const Route> BucketRoutes() { return kRoutes; }

}  // namespace atl::api
