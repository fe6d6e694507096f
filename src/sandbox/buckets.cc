// SPDX-License-Identifier: Apache-2.0
#include "sandbox/buckets.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "oci/bucket_client.h"
#include "sandbox/files.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

namespace json = boost::json;

constexpr size_t kMostPrefix = 512;
constexpr size_t kMostPath = 1024;
constexpr size_t kMostKey = 256;
constexpr size_t kMostFile = 1U << 20U;

Unexpected Wrong(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "INVALID_MOUNT_CONFIG");
}

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool ConsistsOf(std::string_view text, std::string_view others) {
  return std::ranges::all_of(text, [&](char c) { return IsAlphanumeric(c) || others.contains(c); });
}

// No part of it is empty, "." or "..".
bool IsPlain(std::string_view path) {
  while (true) {
    std::string_view part = path.substr(0, path.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    if (part.size() == path.size()) return true;
    path.remove_prefix(part.size() + 1);
  }
}

Result<void> CheckEndpoint(std::string_view endpoint) {
  std::string_view rest = endpoint;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return Wrong("\"endpoint\" must begin with http:// or https://");
  }
  // A comma would begin another option of the client.
  if (rest.empty() || rest.size() > 255 || !ConsistsOf(rest, ".-:[]")) {
    return Wrong("\"endpoint\" must be a host, with a port if need be, and nothing after it");
  }
  return {};
}

Result<void> CheckPrefix(std::string& prefix) {
  while (prefix.starts_with('/')) prefix.erase(0, 1);
  while (prefix.ends_with('/')) prefix.pop_back();
  if (prefix.empty()) return {};
  if (prefix.size() > kMostPrefix || !IsPlain(prefix) || !ConsistsOf(prefix, "/!-_.*'()=+@ ")) {
    return Wrong(
        fmt::format("\"prefix\" must be at most {} letters, digits and !-_.*'()=+@/ or spaces, "
                    "without empty parts, \".\" and \"..\"",
                    kMostPrefix));
  }
  return {};
}

Result<void> CheckPath(std::string& path) {
  ASSIGN(path, AbsolutePath(path));
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.size() > kMostPath || path.size() < 2 || !IsPlain(std::string_view(path).substr(1))) {
    return Wrong("the path must be absolute, not /, and without empty parts, \".\" and \"..\"");
  }
  for (std::string_view taken : {"/proc", "/sys", "/dev", "/.atoll", "/opt/opencode"}) {
    if (PathsOverlap(path, taken)) return Wrong(fmt::format("{} is not to be covered", taken));
  }
  // A place that everything else stands on.
  for (std::string_view taken : {"/bin", "/etc", "/lib", "/lib64", "/opt", "/root", "/sbin", "/tmp",
                                 "/usr", "/var", "/workspace"}) {
    if (path == taken) {
      return Wrong(fmt::format("{} itself is not to be covered: name a directory in it", path));
    }
  }
  return {};
}

Result<void> CheckKeys(const BucketRequest& request) {
  if (request.access_key.empty() || request.secret_key.empty()) {
    return Fail(Code::kInvalidArgument,
                "\"credentials\" with accessKeyId and secretAccessKey are needed, or the name of a "
                "\"secret\" that the daemon has",
                "MISSING_CREDENTIALS");
  }
  auto printable = [](std::string_view key) {
    return key.size() <= kMostKey &&
           std::ranges::all_of(key, [](char c) { return c > ' ' && c < '\x7f'; });
  };
  // The client's file of credentials has them on one line, with colons between.
  if (!printable(request.access_key) || !printable(request.secret_key) ||
      request.access_key.contains(':') || request.secret_key.contains(':')) {
    return Wrong("\"credentials\" are not what keys of S3 look like");
  }
  return {};
}

std::string TextOf(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

bool PathsOverlap(std::string_view one, std::string_view other) {
  if (one.size() > other.size()) std::swap(one, other);
  return other.starts_with(one) && (other.size() == one.size() || other[one.size()] == '/');
}

Result<BucketRequest> SettleBucket(BucketRequest request, const BucketSecrets& secrets) {
  if (!request.secret.empty()) {
    auto found = secrets.find(request.secret);
    if (found == secrets.end()) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("the daemon has no secret \"{:.64}\"", request.secret),
                  "MISSING_CREDENTIALS");
    }
    const BucketSecret& secret = found->second;
    // What the daemon holds goes to no other store and no other bucket than it is for.
    if (!request.access_key.empty() || !request.secret_key.empty()) {
      return Wrong("\"secret\" and \"credentials\" exclude each other");
    }
    if (!request.endpoint.empty() && request.endpoint != secret.endpoint) {
      return Wrong(fmt::format("secret \"{}\" is for another endpoint", request.secret));
    }
    if (!secret.bucket.empty() && request.bucket != secret.bucket) {
      return Wrong(fmt::format("secret \"{}\" is for another bucket", request.secret));
    }
    request.endpoint = secret.endpoint;
    if (request.region.empty()) request.region = secret.region;
    request.access_key = secret.access_key;
    request.secret_key = secret.secret_key;
  }
  if (request.region.empty()) request.region = "us-east-1";
  if (request.region.size() > 64 || !ConsistsOf(request.region, "-_")) {
    return Wrong("\"region\" must be letters, digits, - and _");
  }
  if (request.endpoint.empty()) {
    request.endpoint = fmt::format("https://s3.{}.amazonaws.com", request.region);
  }
  while (request.endpoint.ends_with('/')) request.endpoint.pop_back();
  TRY(CheckEndpoint(request.endpoint));
  bool is_name = request.bucket.size() >= 3 && request.bucket.size() <= 63 &&
                 ConsistsOf(request.bucket, ".-_") && IsAlphanumeric(request.bucket[0]) &&
                 !request.bucket.contains("..");
  if (!is_name) {
    return Wrong("\"bucket\" must be the name of a bucket: 3 to 63 letters, digits and .-_");
  }
  TRY(CheckPrefix(request.prefix));
  TRY(CheckPath(request.path));
  TRY(CheckKeys(request));
  return request;
}

Result<std::vector<KeptBucket>> LoadBuckets(const std::string& file) {
  std::vector<KeptBucket> buckets;
  auto text = sys::ReadFile(file, kMostFile);
  if (!text && text.error().code == Code::kNotFound) return buckets;
  if (!text) return Unexpected(std::move(text).error());
  boost::system::error_code failure;
  json::value value = json::parse(*text, failure);
  const json::array* list = failure ? nullptr : value.if_array();
  if (list == nullptr) return Fail(Code::kInternal, fmt::format("{} cannot be read", file));
  for (const json::value& item : *list) {
    const json::object* object = item.if_object();
    if (object == nullptr) continue;
    const json::value* slot = object->if_contains("slot");
    const json::value* read_only = object->if_contains("readOnly");
    int64_t number = slot != nullptr && slot->is_int64() ? slot->get_int64() : -1;
    if (number < 0 || number >= oci::kMostBuckets) continue;
    buckets.push_back({.slot = static_cast<int>(number),
                       .request = {.bucket = TextOf(*object, "bucket"),
                                   .path = TextOf(*object, "path"),
                                   .endpoint = TextOf(*object, "endpoint"),
                                   .region = TextOf(*object, "region"),
                                   .prefix = TextOf(*object, "prefix"),
                                   .read_only = read_only != nullptr && read_only->is_bool() &&
                                                read_only->get_bool(),
                                   .secret = TextOf(*object, "secret"),
                                   .access_key = TextOf(*object, "accessKeyId"),
                                   .secret_key = TextOf(*object, "secretAccessKey")}});
  }
  return buckets;
}

Result<void> StoreBuckets(const std::string& file, const std::vector<KeptBucket>& buckets) {
  if (buckets.empty()) return sys::RemoveTree(file);
  json::array list;
  for (const auto& [slot, request] : buckets) {
    json::object object{{"slot", slot},
                        {"bucket", request.bucket},
                        {"path", request.path},
                        {"endpoint", request.endpoint},
                        {"region", request.region},
                        {"prefix", request.prefix},
                        {"readOnly", request.read_only}};
    // A secret of the daemon is kept by name: its keys may be changed.
    if (request.secret.empty()) {
      object["accessKeyId"] = request.access_key;
      object["secretAccessKey"] = request.secret_key;
    } else {
      object["secret"] = request.secret;
    }
    list.push_back(std::move(object));
  }
  return sys::WriteFileAtomic(file, json::serialize(list), 0600);
}

}  // namespace atl::sandbox
