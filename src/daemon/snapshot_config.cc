// SPDX-License-Identifier: Apache-2.0
#include "daemon/snapshot_config.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <initializer_list>

#include "crypto/bytes.h"
#include "http/message.h"
#include "sys/fd.h"

namespace atl::daemon {
namespace {

constexpr std::string_view kSection = "snapshots";
constexpr size_t kPasswordBytes = 32;

std::string FirstOf(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    std::optional<std::string> value = environment(name);
    if (value && !value->empty()) return *value;
  }
  return {};
}

void Default(std::string& value, std::string other) {
  if (value.empty()) value = std::move(other);
}

// "s3://bucket/prefix"
Result<void> ReadS3(Source& source, const Environment& environment, std::string_view url,
                    blob::S3Options& s3) {
  url.remove_prefix(std::string_view("s3://").size());
  size_t slash = url.find('/');
  s3.bucket = url.substr(0, slash);
  if (slash != std::string_view::npos) s3.prefix = url.substr(slash + 1);
  while (s3.prefix.ends_with('/')) s3.prefix.pop_back();
  if (s3.bucket.empty()) return Bad(source.file(), "[snapshots] store", "names no bucket");

  TRY(source.Read(kSection, "endpoint", s3.endpoint));
  TRY(source.Read(kSection, "access_key", s3.access_key));
  TRY(source.Read(kSection, "secret_key", s3.secret_key));
  TRY(source.Read(kSection, "session_token", s3.session_token));
  // Keys come in pairs, from one place; R2's endpoint belongs to R2's keys.
  bool configured = !s3.access_key.empty() || !s3.secret_key.empty();
  std::string r2_key = FirstOf(environment, {"R2_ACCESS_KEY_ID"});
  std::string account = FirstOf(environment, {"CLOUDFLARE_ACCOUNT_ID"});
  if (!configured && !r2_key.empty()) {
    s3.access_key = r2_key;
    s3.secret_key = FirstOf(environment, {"R2_SECRET_ACCESS_KEY"});
    if (!account.empty()) {
      Default(s3.endpoint, fmt::format("https://{}.r2.cloudflarestorage.com", account));
    }
  } else if (!configured) {
    s3.access_key = FirstOf(environment, {"AWS_ACCESS_KEY_ID"});
    s3.secret_key = FirstOf(environment, {"AWS_SECRET_ACCESS_KEY"});
    s3.session_token = FirstOf(environment, {"AWS_SESSION_TOKEN"});
  }
  Default(s3.endpoint, FirstOf(environment, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}));
  if (!s3.endpoint.empty() && !s3.endpoint.starts_with("http://") &&
      !s3.endpoint.starts_with("https://")) {
    return Bad(source.file(), "[snapshots] endpoint", "must begin with http:// or https://");
  }
  TRY(source.Read(kSection, "region", s3.region));
  if (s3.region == "auto") {
    std::string region = FirstOf(environment, {"AWS_REGION", "AWS_DEFAULT_REGION"});
    if (!region.empty()) s3.region = region;
  }
  if (s3.access_key.empty() || s3.secret_key.empty()) {
    return Bad(source.file(), "[snapshots] store",
               "is on S3, which needs access_key and secret_key there, or AWS_ACCESS_KEY_ID and "
               "AWS_SECRET_ACCESS_KEY (or R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY) in the "
               "environment or in .dev.vars");
  }
  TRY(source.Read(kSection, "ca_file", s3.ca_file));
  std::string style = "auto";
  TRY(source.Read(kSection, "style", style));
  if (style == "path") {
    s3.style = blob::S3Options::Style::kPath;
  } else if (style == "virtual") {
    s3.style = blob::S3Options::Style::kVirtualHost;
  } else if (style != "auto") {
    return Bad(source.file(), "[snapshots] style", R"(must be "auto", "path" or "virtual")");
  }
  return {};
}

Result<void> ReadDuration(Source& source, std::string_view section, std::string_view key,
                          std::chrono::seconds& into) {
  std::string text;
  TRY(source.Read(section, key, text));
  if (text.empty()) return {};
  Result<std::chrono::seconds> duration = snapshot::ParseDuration(text);
  if (!duration) return Bad(source.file(), key, duration.error().message);
  into = *duration;
  return {};
}

Result<void> ReadAutomatic(Source& source, snapshot::AutoPolicy& policy) {
  constexpr std::string_view kAuto = "snapshots.auto";
  TRY(source.Read(kAuto, "on_stop", policy.on_stop));
  TRY(source.Read(kAuto, "on_start", policy.on_start));
  TRY(ReadDuration(source, kAuto, "interval", policy.interval));
  TRY(source.ReadList(kAuto, "paths", policy.paths));
  // The same rules as for what a create asks for.
  Result<snapshot::AutoPolicy> checked =
      snapshot::ParseAutoPolicy(snapshot::EncodeAutoPolicy(policy), {});
  if (!checked) return Bad(source.file(), "[snapshots] auto", checked.error().message);
  policy = std::move(*checked);
  return {};
}

Result<void> ReadRetention(Source& source, snapshot::Retention& retention) {
  std::string ttl;
  TRY(source.Read(kSection, "ttl", ttl));
  if (!ttl.empty()) {
    auto parsed = snapshot::ParseTtl(ttl);
    if (!parsed) return Bad(source.file(), "[snapshots] ttl", parsed.error().message);
    retention.ttl = *parsed;
  }
  constexpr uint32_t kMost = 100'000;
  // Beside the times at which snapshots are taken, or for all of them: it is the same.
  for (std::string_view section : {"snapshots.keep", "snapshots.auto.keep"}) {
    TRY(source.Read(section, "last", retention.keep.last, 0, kMost));
    TRY(source.Read(section, "hourly", retention.keep.hourly, 0, kMost));
    TRY(source.Read(section, "daily", retention.keep.daily, 0, kMost));
    TRY(source.Read(section, "weekly", retention.keep.weekly, 0, kMost));
    TRY(source.Read(section, "monthly", retention.keep.monthly, 0, kMost));
  }
  return {};
}

}  // namespace

Result<SnapshotConfig> ReadSnapshots(Source& source, const Environment& environment,
                                     const std::string& state_dir) {
  SnapshotConfig config;
  std::string store;
  TRY(source.Read(kSection, "store", store));
  TRY(source.Read(kSection, "dir", config.dir));
  if (store.starts_with("s3://")) {
    config.remote = true;
    TRY(ReadS3(source, environment, store, config.s3));
  } else if (!store.empty()) {
    if (!store.starts_with('/')) {
      return Bad(source.file(), "[snapshots] store",
                 R"(must be "s3://bucket/prefix" or an absolute path)");
    }
    config.dir = store;
  }
  // Known keys, of a store that is not used now.
  for (std::string_view key :
       {"endpoint", "region", "access_key", "secret_key", "session_token", "ca_file", "style"}) {
    std::string ignored;
    if (!config.remote) TRY(source.Read(kSection, key, ignored));
  }
  TRY(source.Read(kSection, "password", config.password));
  TRY(source.Read(kSection, "password_file", config.password_file));
  TRY(source.Read(kSection, "cache_dir", config.cache_dir));
  TRY(source.ReadBytes(kSection, "cache", config.cache_bytes));
  TRY(ReadDuration(source, kSection, "prune_interval", config.prune_interval));
  std::chrono::seconds deadline{120};
  TRY(ReadDuration(source, kSection, "deadline", deadline));
  if (deadline.count() < 1) return Bad(source.file(), "[snapshots] deadline", "must be a time");
  config.s3.total_limit = deadline;
  config.s3.idle_limit = std::min(config.s3.idle_limit, config.s3.total_limit);
  TRY(ReadAutomatic(source, config.automatic));
  TRY(ReadRetention(source, config.retention));
  Default(config.dir, state_dir + "/snapshots");
  Default(config.password_file, state_dir + "/snapshots.password");
  Default(config.cache_dir, state_dir + "/cache");
  config.known_file = state_dir + "/snapshots.stores";
  for (const std::string* path : {&config.dir, &config.password_file, &config.cache_dir}) {
    if (path->starts_with('/') && !path->contains('\0')) continue;
    return Bad(source.file(), "[snapshots]",
               fmt::format("needs absolute paths, not \"{}\"", *path));
  }
  return config;
}

std::string SnapshotConfig::restic_repository() const {
  if (!remote) return dir;
  std::string endpoint =
      s3.endpoint.empty() ? fmt::format("https://s3.{}.amazonaws.com", s3.region) : s3.endpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return fmt::format("s3:{}/{}{}{}", endpoint, s3.bucket, s3.prefix.empty() ? "" : "/", s3.prefix);
}

Result<std::string> SnapshotPassword(const SnapshotConfig& config, bool make) {
  if (!config.password.empty()) return config.password;
  Result<std::string> text = sys::ReadFile(config.password_file, 4096);
  if (!text && text.error().code == Code::kNotFound && make) {
    std::string password = crypto::RandomHex(kPasswordBytes);
    // A link to a finished file: two processes that start at once agree on one password.
    std::string temporary = fmt::format("{}.{}", config.password_file, crypto::RandomHex(8));
    TRY(sys::WriteFileAtomic(temporary, password + "\n", 0600));
    int linked = ::link(temporary.c_str(), config.password_file.c_str());
    int err = errno;
    ::unlink(temporary.c_str());
    if (linked != 0 && err != EEXIST) return FailErrno(err, "write " + config.password_file);
    text = sys::ReadFile(config.password_file, 4096);
  }
  if (!text) {
    return std::unexpected(std::move(text).error().Wrap("read the password of the snapshots"));
  }
  std::string password(http::Trim(*text));
  while (password.ends_with('\n') || password.ends_with('\r')) password.pop_back();
  if (password.empty()) {
    return Fail(Code::kInvalidArgument, config.password_file + " is empty", "BAD_CONFIG");
  }
  return password;
}

}  // namespace atl::daemon
